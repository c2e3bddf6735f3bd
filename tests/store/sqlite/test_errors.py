"""SQLite's errors as sentences: damage, a failing disk, a full one and a read-only one differ."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from store.sqlite import FILE
from store.sqlite.errors import store_error
from tests.support.repository import ROOT


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SQLITE_CORRUPT", "`server.py check` says whether it is damaged or the disk fails"),
        ("SQLITE_NOTADB", "it is not a Partyline database, or it is damaged."),
        ("SQLITE_IOERR", "the disk or its file system reported an error (SQLITE_IOERR)."),
        ("SQLITE_IOERR_WRITE", "the disk or its file system reported an error (SQLITE_IOERR_WRITE)."),
        ("SQLITE_IOERR_FSYNC", "the disk or its file system reported an error (SQLITE_IOERR_FSYNC)."),
        ("SQLITE_FULL", "the disk is full."),
        ("SQLITE_READONLY", "it cannot be written."),
        ("SQLITE_READONLY_DBMOVED", "it cannot be written."),
        ("SQLITE_CANTOPEN", "it cannot be opened or written."),
        ("SQLITE_BUSY", "another program keeps it locked."),
    ],
)
def test_each_cause_has_its_sentence(name: str, sentence: str) -> None:
    """By the code and not by the text; also when SQLAlchemy has wrapped the error."""
    error = sqlite3.OperationalError("some text")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
    for raised in (error, OperationalError("SELECT secret", {}, error)):
        found = str(store_error(Path("data/partyline.db"), raised))
        assert found.startswith("The store data/partyline.db failed: ")
        assert sentence in found
        assert "secret" not in found


def test_a_store_without_its_tables_cannot_be_read() -> None:
    error = sqlite3.OperationalError("no such table: runs")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_ERROR, "SQLITE_ERROR"
    assert "it cannot be read; `server.py check` says" in str(store_error(Path("data/partyline.db"), error))


# A disk that refuses to read or write: it preloads functions that fail for the database's files.
DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fails(int fd, int what) {
    char link[64], file[512];
    FILE *mode = fopen(getenv("FAILING"), "r");
    if (!mode) return 0;
    int wanted = fgetc(mode);
    fclose(mode);
    if (wanted != what) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, file, sizeof file - 1);
    if (size < 0) return 0;
    file[size] = 0;
    return strstr(file, "partyline.db") != 0;
}
#define REPLACE(type, name, declared, given, what)                                                 \
    type name declared {                                                                           \
        static type(*real) declared;                                                               \
        if (!real) real = (type(*) declared) dlsym(RTLD_NEXT, #name);                              \
        if (fails(fd, what)) { errno = EIO; return -1; }                                           \
        return real given;                                                                         \
    }
REPLACE(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), 'w')
REPLACE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), 'w')
REPLACE(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at), 'r')
REPLACE(ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at), 'r')
REPLACE(int, fdatasync, (int fd), (fd), 's')
REPLACE(int, fsync, (int fd), (fd), 's')
"""

USE = """
import os, random, sys
from pathlib import Path
from store import StoreError, open_store
from tests.support.stores import posting
store = open_store(Path(sys.argv[1]), "power")
logs = [store.open_channel(f"c{at}") for at in range(30)]
count = {log.id: 0 for log in logs}
def post():
    log = random.choice(logs)
    numbers = store.append([posting(log, "ann", *["x" * 800] * random.randint(1, 30))], 1).numbers[0]
    assert numbers[0] == count[log.id] + 1, "a number was left out or given twice"
    count[log.id] = numbers[-1]
for _ in range(2_000):
    post()
flag = Path(os.environ["FAILING"])
for mode in "wsr":
    flag.write_text(mode)
    for _ in range(50):
        for call in (post, lambda: store.read(random.choice(logs), random.randint(0, 500), 100)):
            try:
                call()
            except StoreError as error:
                print(mode, error)
    flag.unlink()
    for log in logs:
        assert len(store.read(log, 0, 10**6)) == count[log.id]
    for _ in range(20):
        post()
store.close()
"""


def test_a_disk_that_fails_is_not_called_damage(tmp_path: Path) -> None:
    """Whatever it refuses, the sentence blames the disk, and afterwards the store goes on without a gap."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler, which builds a disk that fails")
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(DISK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "FAILING": str(tmp_path / "failing")}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "data")], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sentences: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        sentences.setdefault(line[0], set()).add(line[2:])
    begin = f"The store {tmp_path / 'data' / FILE} failed: "
    assert set(sentences) == set("wsr"), sentences
    for sentence in sentences["w"] | sentences["s"]:
        assert sentence.startswith(f"{begin}the disk or its file system reported an error (SQLITE_IOERR_"), sentence
    for sentence in sentences["r"]:  # SQLite reports a read that fails as damage
        assert "the disk fails" in sentence or "the disk or its file system" in sentence
    with sqlite3.connect(tmp_path / "data" / FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
