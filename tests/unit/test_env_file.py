"""A file of settings is read as systemd reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.env_file import read_env_file
from cli.main import main
from shared.errors import ConfigurationError

URL = "postgresql://app:x@127.0.0.1/app?sslmode=verify-full&sslrootcert=/etc/ca.crt"
FILES = {
    f"DATABASE_URL={URL}\n": {"DATABASE_URL": URL},
    "# a comment\n;another\n\nA=1\n": {"A": "1"},
    "\N{ZERO WIDTH NO-BREAK SPACE}A=1\r\nB=2\r\n": {"A": "1", "B": "2"},
    "  A=  spaced out \t\n": {"A": "spaced out"},
    "A='single $HOME \\ \"x\"'  \n": {"A": 'single $HOME \\ "x"'},
    'A="double \\"x\\" \\$1 \\n"\n': {"A": 'double "x" $1 \\n'},
    'A="two\nB=lines"\nC=3': {"A": "two\nB=lines", "C": "3"},
    "A=one\\\ntwo\nB=2\n": {"A": "onetwo", "B": "2"},
    "A=it's \\# x\n": {"A": "it's # x"},
    "A=\nB=a=b\n": {"A": "", "B": "a=b"},
    "A=first\nA=last\n": {"A": "last"},
    "A = 1\nB\t=2\n": {"A": "1", "B": "2"},
    "A='one' \"two\"three # four \n": {"A": "onetwothree # four"},
    'A=x"y z"\n': {"A": 'x"y z"'},
    "A='x'\\\ny\n": {"A": "xy"},
    "A=\\\n  x\nB='\n'\n": {"A": "  x", "B": "\n"},
    "A=x\\  \nB=\\ \n": {"A": "x ", "B": " "},
    "A=\\\\\n": {"A": "\\"},
    "A=\"\"\nB=''\n": {"A": "", "B": ""},
    'A="one\\\ntwo\\x"\r\n': {"A": "onetwo\\x"},
    "# it's \"open\nA=1\n": {"A": "1"},
    "A=\N{HIRAGANA LETTER A}=\n": {"A": "\N{HIRAGANA LETTER A}="},
    "": {},
}


@pytest.mark.parametrize("content", FILES)
def test_a_file_is_read_as_systemd_does(content: str, tmp_path: Path) -> None:
    (tmp_path / "environment").write_bytes(content.encode())
    assert read_env_file(tmp_path / "environment") == FILES[content]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"A=1\nexport B=2\n", "line 2 is not NAME=VALUE: leave out `export`"),
        (b"A=1\nB=\0\n", "line 2 holds NUL"),
        (b"A='x'\nB='open\n", "line 2 is not NAME=VALUE"),
        ("A=1".encode("utf-16"), "is not UTF-8"),
        ("\N{HIRAGANA LETTER A}=1\n".encode(), "line 1 is not NAME=VALUE"),
        (b"A=1\n\nB\n", "line 3 is not NAME=VALUE"),
        (b'A="open\n', "line 1 is not NAME=VALUE"),
        (b"1A=1\n", "line 1 is not NAME=VALUE"),
        (b"A=\xff\n", "is not UTF-8"),
    ],
)
def test_what_systemd_leaves_out_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "environment").write_bytes(content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_env_file(tmp_path / "environment")


@pytest.mark.parametrize("words", ["{} doctor", "doctor {}", "uploads list {}"])
@pytest.mark.parametrize("form", ["--env-file={}", "--env-file {}"])
def test_every_command_takes_a_file(
    words: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/x")
    (tmp_path / "environment").write_text("DATABASE_URL=mysql://not-ours/x\n")
    arguments = words.format(form.format(tmp_path / "environment")).split()
    result = CliRunner().invoke(main, arguments)
    assert "DATABASE_URL: must be a Postgres URL" in result.output


def test_a_file_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(main, ["stats", "--env-file", "/nowhere"])
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: /nowhere cannot be read: No such file or directory\n",
    )


@pytest.mark.parametrize("command", ["doctor", "stats"])
def test_the_cause_of_a_sourced_file_is_named(command: str, tmp_path: Path) -> None:
    # To a shell, `&` ends the assignment, which runs in the background: the variable is not set at all.
    (tmp_path / "environment").write_text(f"DATABASE_URL={URL}\nBROKER_URL=redis://127.0.0.1:1/0\n")
    program = Path(sys.executable).parent / "study-ingest"
    script = f"set -a; . ./environment; {program} {command} --data-dir {tmp_path}"
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    ran = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "--env-file" in ran.stdout + ran.stderr
