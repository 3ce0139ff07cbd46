"""The Procfile: what is to be run, by name."""

import re
from pathlib import Path

PROCFILE = Path(__file__).resolve().parent.parent / "Procfile"
LINE = re.compile(r"^([\w-]+):\s*(\S.*)$", re.MULTILINE)


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Return the shell command of each process, in the file's order."""
    return dict(LINE.findall(path.read_text()))
