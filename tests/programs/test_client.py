"""The client's options, and in one sentence why it cannot start."""

from __future__ import annotations

import pytest

from client import main


def test_a_bad_name_and_a_password_file_that_is_not_there_are_one_sentence_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--name", "a b"]) == 2
    assert main(["--name", "alice", "--password-file", "/nowhere"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "A name is" in first
    assert second == "client.py: Cannot read the password file /nowhere: No such file or directory."


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert "partyline" in capsys.readouterr().out.lower()
