"""A table on a terminal, however narrow, can be read and copied from."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

UUID = "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11"
WHY = "OperationalError 53100 at shared/replay.py:40 _learn"
ROOT = Path(__file__).resolve().parents[2]
PRINT = f"""
from datetime import UTC, datetime
from uuid import UUID
from cli.context import print_table
at = datetime(2026, 11, 20, 9, tzinfo=UTC)
row = (UUID("{UUID}"), "received", at, 1, 9223372036854775807, 500, "{WHY}")
print_table(("upload", "status", "received", "tries", "learner", "attempts", "why"), [row])
print_table(("when", "what", "why", "by"), [(at, "failed", "{WHY} {UUID}", "alice (command)")])
"""


def on_a_terminal(columns: int) -> str:
    """Run the tables on a terminal of so many columns; return what it gets, before it breaks any line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PRINT], stdout=theirs, env=environment) as running:
        os.close(theirs)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert running.wait() == 0
    os.close(ours)
    return re.sub("\x1b\\[[0-9;]*m", "", written.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux' way to say that the other end is closed
        return b""


@pytest.mark.parametrize("columns", [40, 80, 132, 250])
def test_uuids_and_times_are_whole_at_any_width(columns: int) -> None:
    shown = on_a_terminal(columns)
    assert shown.count(UUID) == 2
    assert shown.count("2026-11-20 09:00:00Z") == 2
    assert "9223372036854775807" in shown


def test_long_texts_are_folded_to_the_terminal() -> None:
    shown = on_a_terminal(140)
    assert max(map(len, shown.splitlines())) <= 140
