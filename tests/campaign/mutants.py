"""The program that samples mutants of the product, one at a time, and runs the tests against each.

`python -m tests.campaign.mutants --count 100` copies the project to a temporary folder, runs the tests once with
coverage to learn which test runs which line, and then, for each sampled mutant, runs the tests that may find it until
one fails. Each line of its output names a mutant that was killed, or one that survived.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coverage import CoverageData

from tests.campaign.mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("channels", "store", "bridge/clients", "wire")
_KILLING = ("tests/faults/", "tests/programs/")  # these kill their servers, which leave no coverage then
_FIRST_TESTS = 60  # that run in one process, before the rest runs in several
_START_SECONDS = 120.0  # of pytest, until its first test has begun
_SLOWNESS = 5.0  # times the seconds of the healthy run: a test that takes longer hangs
_PYTEST = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:randomly")
_ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # a change within a second would meet old bytecode
# pytest-cov labels what a test's own process runs; PYTEST_CURRENT_TEST labels what the processes that it starts run.
_LABEL = re.compile(r"(.+)(?:\|(?:setup|run|teardown)| \((?:setup|call|teardown)\))", re.DOTALL)
_COVERAGE_TABLE = "[tool.coverage.run]\n"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests that pass on the unchanged code: the seconds of each, and those that run a line of a file."""

    seconds: Mapping[str, float]
    of_line: Mapping[tuple[str, int], set[str]]

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that may find a mutant, the likely ones first.

        These are the tests that run its line, or all tests of its folder if none is known to, and those that kill
        their servers. Tests of the mutant's folder precede others, and fast ones precede slow ones.
        """
        own = f"{_test_folder(mutant.file)}/"
        known = self.of_line.get((str(mutant.file), mutant.line), set()) & self.seconds.keys()
        known = known or {test for test in self.seconds if test.startswith(own)}
        unknown = {test for test in self.seconds if test.startswith(_KILLING)} - known
        likely = sorted(known, key=lambda test: (not test.startswith(own), self.seconds[test], test))
        return [*likely, *sorted(unknown, key=lambda test: (self.seconds[test], test))]

    def limit(self, tests: Sequence[str], workers: int) -> float:
        """Return the seconds after which a run of these tests counts as hanging."""
        alone = sum(self.seconds[test] for test in tests)
        return _START_SECONDS + _SLOWNESS * max(alone / workers, *(self.seconds[test] for test in tests))


def measure(folder: Path, workers: int) -> Baseline:
    """Run the tests of the project in `folder` with coverage. Raises SystemExit if no test passes."""
    settings = folder / "pyproject.toml"
    text = settings.read_text()
    assert _COVERAGE_TABLE in text
    settings.write_text(text.replace(_COVERAGE_TABLE, f'{_COVERAGE_TABLE}context = "${{PYTEST_CURRENT_TEST-}}"\n'))
    record = folder.parent / "seconds.json"
    sources = [f"--cov={each}" for each in sorted({each.partition("/")[0] for each in FOLDERS})]
    subprocess.run(
        [*_PYTEST, "-n", str(workers), "--dist", "worksteal", "-p", "tests.campaign.recorder", f"--record={record}",
         *sources, "--cov-context=test", "--cov-report=", "--ignore=tests/project", "tests"],
        cwd=folder, env=_ENVIRONMENT, check=False,
    )  # fmt: skip
    passed: dict[str, float] = json.loads(record.read_text()) if record.exists() else {}
    listing = subprocess.run(
        [*_PYTEST, "--collect-only", "tests"],
        cwd=folder,
        env=_ENVIRONMENT,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = {test: passed[test] for test in listing.stdout.splitlines() if test in passed}  # ids that never change
    if not seconds:
        raise SystemExit("no test passes on the unchanged code")
    data = CoverageData(str(folder / ".coverage"))
    data.read()
    of_line: dict[tuple[str, int], set[str]] = defaultdict(set)
    for path in data.measured_files():
        file = str(Path(path).relative_to(folder))
        for line, contexts in data.contexts_by_lineno(path).items():
            of_line[file, line].update(filter(None, map(labelled_test, contexts)))
    return Baseline(seconds, of_line)


def labelled_test(context: str) -> str | None:
    """Return the id of the test that a context of coverage names, or None if it names none."""
    found = _LABEL.fullmatch(context)
    return found and found[1]


def _test_folder(file: Path) -> str:
    """Return the folder with the tests of a file."""
    return "tests/bridge/clients" if file.parts[0] == "bridge" else f"tests/{file.parts[0]}"


def is_killed(folder: Path, mutant: Mutant, baseline: Baseline, workers: int) -> bool:
    """Return True if a test fails, or hangs, with the mutant in the copy of the project in `folder`."""
    target = folder / mutant.file
    healthy = target.read_text()
    tests = baseline.tests(mutant)
    target.write_text(mutant.text)
    try:
        first, rest = tests[:_FIRST_TESTS], tests[_FIRST_TESTS:]
        return _fails(folder, first, baseline, 1) or _fails(folder, rest, baseline, workers)
    finally:
        target.write_text(healthy)


def _fails(folder: Path, tests: Sequence[str], baseline: Baseline, workers: int) -> bool:
    if not tests:
        return False
    parallel = ("-n", str(workers)) if workers > 1 else ()
    process = subprocess.Popen(
        [*_PYTEST, "-x", *parallel, *tests],
        cwd=folder, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(baseline.limit(tests, workers)) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its workers and the servers of its tests, too
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if at least nine of ten mutants are killed, otherwise 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign.mutants",
        description="Change one small thing of the product at a time, and see whether a test fails.",
    )
    parser.add_argument("--count", type=int, default=100, help="mutants to sample (default 100)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the sample (default: random)")
    parser.add_argument("--workers", type=int, default=2, help="processes that run tests (default 2)")
    options = parser.parse_args(arguments)
    files = sorted(file.relative_to(ROOT) for each in FOLDERS for file in (ROOT / each).rglob("*.py"))
    everything = [mutant for file in files for mutant in mutants(file, (ROOT / file).read_text())]
    sample = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    print(f"{len(sample)} of {len(everything)} mutants, seed {options.seed}", flush=True)
    survived = 0
    with tempfile.TemporaryDirectory(prefix="partyline-mutants-") as temporary:
        folder = Path(temporary, "project").resolve()
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".*_cache"))
        baseline = measure(folder, options.workers)
        for number, mutant in enumerate(sample, 1):
            killed = is_killed(folder, mutant, baseline, options.workers)
            survived += not killed
            verdict = "killed  " if killed else "SURVIVED"
            print(f"{number:3} {verdict} {mutant.file}:{mutant.line} {mutant.change}", flush=True)
    print(f"{len(sample) - survived} of {len(sample)} killed")
    return int(survived > len(sample) // 10)


if __name__ == "__main__":
    sys.exit(main())
