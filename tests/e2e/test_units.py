"""Each systemd unit's command runs with its environment files alone, in what its sandbox leaves.

systemd itself is not started: mounts and `setpriv` stand for what the units ask of it; filters of system
calls are left out.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine, make_url

from cli.client import Answer, Sender
from cli.env_file import read_env_file
from cli.local.servers import Servers
from shared.config import Settings
from tests import disks, factories
from tests.factories import statuses
from tests.processes import CELERY, PATIENCE_S, ROOT, free_port, reachable_directory, reachable_python, until

UNITS = ROOT / "deploy" / "systemd"
PROGRAMS = "/opt/study-ingest/.venv"
LOGIN = "operator:password-of-flower"
# What `ProtectSystem=strict`, `ProtectHome`, `PrivateTmp`, `ProtectProc`, `StateDirectory` and
# `RuntimeDirectory` ask for. The stores' sockets are under /tmp, which is another one for the unit.
SANDBOX = """
set -e
mount --bind "$SOCKETS" "$HOME_OF_TEST/sockets"
mount --rbind "$HOME_OF_TEST" /mnt
for place in /home /root /tmp /opt /run /var/lib; do mount -t tmpfs -o mode=0755 study-ingest $place; done
chmod 1777 /tmp
mkdir -p /opt/study-ingest/.venv /run/study-ingest /run/stores
mkdir -p /var/lib/study-ingest /var/lib/study-ingest-flower
mount --bind "$PROGRAMS" /opt/study-ingest/.venv
mount --bind /mnt/sockets /run/stores
for place in /run/study-ingest /var/lib/study-ingest /var/lib/study-ingest-flower; do
    mount --bind /mnt/state/${place##*/} $place
done
umount -l /mnt
for place in / /home /root /opt /run /var/lib; do mount -o remount,bind,ro $place; done
mount -t proc -o hidepid=invisible,subset=pid proc /proc || true
cd "$STATE"
umask 0077
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8 "$@"
"""


def lines(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (UNITS / f"study-ingest-{unit}.service").read_text(), re.MULTILINE)


class Installation:
    """The units, with the examples of their environment files filled in."""

    def __init__(self, home: Path, servers: Servers, values: dict[str, str]) -> None:
        self.home, self.account = home, servers.postgres.account
        self.python = reachable_python(home / "python")
        if self.python.is_relative_to(home):  # its own path is not that of the unit
            (self.python.parent / "celery").write_text(CELERY.format(python=f"{PROGRAMS}/bin/python"))
        for name in ("study-ingest", "study-ingest-flower"):
            (home / "state").mkdir(exist_ok=True)
            (home / "state" / name).mkdir(mode=0o700)
            os.chown(home / "state" / name, self.account.uid, self.account.gid)
        (home / "sockets").mkdir()
        self.sockets = servers.postgres.sockets
        for example in UNITS.glob("*.example"):
            text = example.read_text()
            for name, value in values.items():
                text = re.sub(rf"^#?{name}=.*$", f'{name}="{value}"', text, flags=re.MULTILINE)
            (home / example.stem).write_text(text)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, unit: str) -> None:
        settings = dict(line.split("=", 1) for line in lines(unit, "Environment"))
        for path in lines(unit, "EnvironmentFile"):
            settings |= read_env_file(self.home / Path(path).name)
        (state,) = lines(unit, "WorkingDirectory")
        (command,) = lines(unit, "ExecStart")
        ids = [f"--reuid={self.account.uid}", f"--regid={self.account.gid}", "--clear-groups"]
        limits = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        words = [f"{name}={value}" for name, value in settings.items()]
        words += ["setpriv", *ids, *limits, *shlex.split(command.replace("%%", "%"))]
        is_ours = self.python.is_relative_to(self.home)
        places = {
            "HOME_OF_TEST": str(self.home),
            "SOCKETS": str(self.sockets),
            "PROGRAMS": "/mnt/python" if is_ours else str(self.python.parent.parent),
            "STATE": state,
        }
        with (self.home / f"{unit}.log").open("wb") as log:
            self.running[unit] = subprocess.Popen(
                ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", SANDBOX, "sh", *words],
                env=os.environ | places,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def output(self, unit: str) -> str:
        return (self.home / f"{unit}.log").read_text()

    def stop(self, unit: str) -> int:
        self.running[unit].send_signal(signal.SIGTERM)
        return self.running[unit].wait(PATIENCE_S)


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def installed(settings: Settings, servers: Servers, ports: tuple[int, int]) -> Iterator[Installation]:
    if reason := disks.why_not():
        pytest.skip(reason)
    if not shutil.which("setpriv"):
        pytest.skip("`setpriv` is not installed (Debian's package: util-linux)")
    database = make_url(settings.database_url).database
    broker, stored = urlsplit(settings.broker_url), urlsplit(settings.redis_url)
    values = {
        "DATABASE_URL": f"postgresql://study@/{database}?host=/run/stores",
        "BROKER_URL": f"{broker.scheme}:///run/stores/valkey.sock?{broker.query}",
        "REDIS_URL": f"{stored.scheme}:///run/stores/valkey.sock?{stored.query}",
        "PROMETHEUS_MULTIPROC_DIR": "/run/study-ingest",
        "STUDY_INGEST_ENABLED": "1",
        "VIEWER_SYNC_TOKEN": "viewer-token-of-tests",
        "PORT": str(ports[0]),
        "FLOWER_BASIC_AUTH": LOGIN,
        "FLOWER_PORT": str(ports[1]),
    }
    with reachable_directory() as home:
        made = Installation(home, servers, values)
        yield made
        for process in made.running.values():
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, auth=("operator", LOGIN.removeprefix("operator:"))).is_success
    except httpx.TransportError:
        return False


def test_every_unit_runs_in_its_sandbox(
    engine: Engine, installed: Installation, ports: tuple[int, int]
) -> None:
    factories.load(engine)
    units = ("web", "worker", "sweeper", "flower")
    for unit in units:
        installed.start(unit)
    said = {unit: lambda unit=unit: installed.output(unit) for unit in units}
    until(
        lambda: answers(f"http://127.0.0.1:{ports[0]}/readyz"), f"the web process is ready: {said['web']()}"
    )
    with Sender(f"http://127.0.0.1:{ports[0]}", "viewer-token-of-tests") as viewer:
        sent = factories.upload(factories.answer("q110", "2026-11-20T09:00:00Z"))
        assert viewer.send(factories.body(sent)).answer is Answer.RECEIVED
    until(lambda: statuses(engine) == ["ingested"], "it is ingested")
    until(lambda: "sweeper.started" in installed.output("sweeper"), "the sweeper runs")
    until(lambda: answers(f"http://127.0.0.1:{ports[1]}/api/workers"), "Flower answers")
    assert [process.poll() for process in installed.running.values()] == [None] * 4
    wrong = re.compile("metrics.path_unusable|Traceback|Error")
    assert [each for each in units if wrong.search(installed.output(each))] == []
    assert [installed.stop(unit) for unit in units] == [0, 0, 0, 0]
