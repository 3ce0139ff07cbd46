"""A small disk that a test can fill; only processes that the test starts for it see the disk."""

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
    """A disk of `megabytes` that is mounted over `directory` and belongs to the user `uid`."""

    directory: Path
    megabytes: int
    uid: int = 0

    def command(self, command: list[str], log: Path | None = None) -> list[str]:
        """Return a command line that mounts the disk for a command, and writes its output to `log`."""
        options = f"size={self.megabytes}m,uid={self.uid},gid={self.uid},mode=0700"
        mount = shlex.join(["mount", "-t", "tmpfs", "-o", options, "study-ingest", str(self.directory)])
        output = f">>{shlex.quote(str(log))} 2>&1" if log else ""
        return ["unshare", "--mount", "/bin/sh", "-c", f'{mount} && exec "$@" {output}', "sh", *command]

    def fill(self, pid: int) -> Path:
        """Fill the disk that a process sees with one file; return the file, for the test to remove."""
        filler = seen_by(pid, self.directory / "filler")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(CHUNK):
                pass
        return filler


def seen_by(pid: int, path: Path) -> Path:
    """Return the path at which this process sees the file that another process sees at `path`."""
    return Path(f"/proc/{pid}/root{path}")


def joining(pid: int, command: list[str]) -> list[str]:
    """Return a command line that runs a command with the disks that a process sees."""
    return ["nsenter", "--target", str(pid), "--mount", "--wd=.", *command]


@cache
def why_not() -> str:
    """Return why a small disk cannot be mounted here; an empty text if it can."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return "`unshare` is not installed (Debian's package: util-linux)"
    probe = SmallDisk(Path("/mnt"), 1).command(["true"])
    ran = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"no disk can be mounted here: {ran.stderr}" if ran.returncode else ""
