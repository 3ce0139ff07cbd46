"""A small disk that a test can fill; only the processes on it see it, and no other test."""

import os
import shlex
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHUNK = b"x" * 4096


@dataclass(frozen=True)
class SmallDisk:
    """A disk of so many megabytes in place of a directory, of that user."""

    directory: Path
    megabytes: int
    uid: int = 0

    def command(self, command: list[str], log: Path | None = None) -> list[str]:
        """Return what runs a command that sees the disk, and writes its output to a log there."""
        options = f"size={self.megabytes}m,uid={self.uid},gid={self.uid},mode=0700"
        mount = shlex.join(["mount", "-t", "tmpfs", "-o", options, "study-ingest", str(self.directory)])
        output = f">>{shlex.quote(str(log))} 2>&1" if log else ""
        return ["unshare", "--mount", "/bin/sh", "-c", f'{mount} && exec "$@" {output}', "sh", *command]

    def fill(self, pid: int) -> Path:
        """Write a file until nothing more fits, as seen by a process; return it, for its removal."""
        filler = seen_by(pid, self.directory / "filler")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(CHUNK):
                pass
        return filler


def seen_by(pid: int, path: Path) -> Path:
    """Return the path at which we see what a process sees at a path."""
    return Path(f"/proc/{pid}/root{path}")


def joining(pid: int, command: list[str]) -> list[str]:
    """Return what runs a command that sees the disks of a process."""
    return ["nsenter", "--target", str(pid), "--mount", "--wd=.", *command]


@cache
def why_not() -> str:
    """Say why there can be no such disk here; nothing if there can."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return "`unshare` is not installed (Debian's package: util-linux)"
    probe = SmallDisk(Path("/mnt"), 1).command(["true"])
    ran = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"no disk can be mounted here: {ran.stderr}" if ran.returncode else ""
