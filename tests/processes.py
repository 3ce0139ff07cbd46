"""Run the Procfile's processes for a test: real ones, with timings of seconds instead of minutes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Self, TypeVar

import httpx
import psutil
import pytest
from pydantic import SecretStr

from cli.local.pdeathsig import tied
from cli.local.places import Account
from cli.local.up import read_procfile
from shared.config import Settings

T = TypeVar("T")


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Make a directory that the servers' user can enter; if root runs the tests, pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="study-ingest-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


FOREIGN = 1  # daemon: a user that every system has
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's death"
)
CELERY = """#!{python}
import sys
from celery.__main__ import main
sys.exit(main())
"""


def reachable_python(directory: Path) -> Path:
    """Return a Python with our packages that every user can run; skip the test where there is none."""
    if Account(FOREIGN, FOREIGN).can_reach(Path(sys.executable).resolve()):
        return Path(sys.executable)
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    system = Path("/usr/bin", ours)
    if not system.exists():
        pytest.skip(f"no {ours} that every user can run")
    subprocess.run([system, "-m", "venv", "--without-pip", directory], check=True)
    packages = directory / "lib" / ours / "site-packages"
    # Before Python 3.11.3, redis-py needs this package, which our own Python may lack.
    (packages / "async_timeout.py").write_text("from asyncio import timeout")
    (packages / "ours.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
        + f"\n{ROOT}\n{ROOT}/client/python\n"
    )
    python, celery = directory / "bin" / "python", directory / "bin" / "celery"
    celery.write_text(CELERY.format(python=python))
    celery.chmod(0o755)
    return python


ROOT = Path(__file__).resolve().parent.parent
PROCFILE = read_procfile()

# Begins with the directory that has the `python` and `celery` of this run.
PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
# Long enough for a slow machine; a fast one does not wait so long.
PATIENCE_S = 120.0

# Short enough for a test, in the same proportions as the defaults.
BRISK = {
    "first_try_after": 2.0,
    "enqueue_again_after": 2.0,
    "retry_base": 0.2,
    "retry_cap": 1.0,
    "sweep_every": 0.3,
    "visibility_timeout": 5.0,
    "task_time_limit": 4.0,
    "lock_timeout": 2.0,
    "idle_timeout": 10.0,
}


# Below the ports that Linux gives to a program that connects or asks for any: so a port that is named here is
# still free when its server starts.
PORTS = range(15_000, 32_000)
_claims: list[socket.socket] = []


def free_port() -> int:
    """Return a free port, which no other call returns, in any process, as long as this process runs."""
    while True:
        port = SystemRandom().choice(PORTS)
        claim = socket.socket(type=socket.SOCK_DGRAM)  # of UDP, which no server of the tests uses
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return port


def until(true: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
    """Wait until a condition is true; if it does not become true, fail with `what` in the message."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"after {patience:.0f} s still not true: {what}"
        time.sleep(0.05)


def living(
    processes: Iterable[psutil.Process], ask: Callable[[psutil.Process], T]
) -> list[tuple[psutil.Process, T]]:
    """Ask each process, and return it with its answer; leave out those that end meanwhile."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append((process, ask(process)))
    return found


@dataclass
class Processes:
    """Start and kill processes, of the code in `root`; each writes to a log file in `logs`."""

    settings: Settings
    logs: Path
    root: Path = ROOT
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.running):
            self.kill(name)

    def start(self, name: str, command: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the Procfile, or a command under that name."""
        command = command or read_procfile(self.root / "Procfile")[name]
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                tied(["/bin/sh", "-c", f"exec {command}"], signal.SIGKILL),
                cwd=self.root,
                env=self.environment() | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.running[name]

    def kill(self, name: str) -> None:
        """Kill a process with all its children, as if the machine died."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def output(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def serve(self, **environment: str) -> str:
        """Start the web process and return its URL."""
        port = free_port()
        self.start("web", PORT=str(port), **environment)
        url = f"http://127.0.0.1:{port}"
        self.until_ready(url)
        return url

    def until_ready(self, url: str) -> None:
        """Wait until a web process accepts uploads."""
        until(lambda: is_ready(url), "the web process is ready")

    def environment(self) -> dict[str, str]:
        values = self.settings.model_dump(exclude_none=True)
        settings = {name.upper(): _plain(value) for name, value in values.items()}
        return os.environ | PATH | {"PYTHONPATH": str(self.root)} | settings


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextmanager
def processes(settings: Settings, logs: Path, **timings: float) -> Iterator[Processes]:
    with Processes(settings.model_copy(update=BRISK | timings), logs) as running:
        yield running
