"""`up` as an operator starts it, for a test."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from cli.local.places import read_env
from tests.disks import SmallDisk, joining, seen_by
from tests.processes import PATIENCE_S, free_port, living, until

COMMAND = str(Path(sys.executable).parent / "study-ingest")
TOKENS = ("VIEWER_SYNC_TOKEN", "STUDY_API_TOKEN", "OPS_PASSWORD", "METRICS_TOKEN", "FLOWER_BASIC_AUTH")
LEARNERS = ("VIEWER_TOKEN_KEYS", "VIEWER_TOKEN_AUDIENCE", "VIEWER_SIGNING_KEY")
KEPT = ("DATABASE_URL", "BROKER_URL", "REDIS_URL", *TOKENS, *LEARNERS)
KEYS = ("API_URL", "FLOWER_URL", *KEPT)
BARE = {name: value for name, value in os.environ.items() if name not in KEYS}
# A lost message is soon replaced, and a busy machine has time to answer.
BRISK = {"FIRST_TRY_AFTER": "1", "SWEEP_EVERY": "0.5", "STORE_DEADLINE": "10"}


@dataclass
class Up:
    """One run of `up`."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    disk: SmallDisk | None

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return re.search(r"^ready http://127.0.0.1:\d+$", self.said(), re.MULTILINE) is not None

    def find(self, words: str) -> psutil.Process:
        """Find the process of `up` that has these words in its command line."""
        (found,) = self.find_all(words)
        return found

    def find_all(self, words: str) -> list[psutil.Process]:
        family = psutil.Process(self.process.pid).children()
        return [each for each, line in living(family, psutil.Process.cmdline) if words in " ".join(line)]

    def end(self, number: signal.Signals) -> int:
        """Send `up` a signal; return the exit code of `up` once all its processes have ended."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert alive == []
        return code

    def doctor(self) -> dict[str, dict[str, str]]:
        """Return what the doctor finds, by check."""
        command = joining(self.process.pid, [COMMAND, "doctor", "--json", "--data-dir", str(self.data_dir)])
        ran = subprocess.run(command, env=BARE, capture_output=True, text=True, check=False)
        return {each["check"]: each for each in map(json.loads, ran.stdout.splitlines())}

    def viewer(self) -> httpx.Client:
        env = read_env(self.data_dir)
        token = {"Authorization": f"Bearer {env['VIEWER_SYNC_TOKEN']}"}
        return httpx.Client(base_url=env["API_URL"], headers=token, trust_env=False, timeout=PATIENCE_S)


@contextmanager
def running(
    data_dir: Path,
    *arguments: str,
    disk: SmallDisk | None = None,
    log: Path | None = None,
    **environment: str,
) -> Iterator[Up]:
    """Start an `up`, and yield it when it is ready; only this `up` sees `disk`, and `log` may be there."""
    command = [COMMAND, "up", "--data-dir", str(data_dir), "--port", str(free_port()), *arguments]
    outer = data_dir.with_suffix(".log")
    with outer.open("wb") as output:
        process = subprocess.Popen(
            disk.command(command, log) if disk else command,
            cwd=data_dir.parent,
            env=BARE | BRISK | environment,
            stdout=output,
            stderr=output,
        )
    up = Up(process, data_dir, seen_by(process.pid, log) if log else outer, disk)
    try:
        until(up.is_ready, "`up` is ready")
        yield up
    finally:
        if process.poll() is None:
            up.end(signal.SIGKILL)
