"""Files of metrics: private, left by processes alone, and whatever is torn is passed over."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.config import Settings
from shared.metrics import Files

COUNT = "from shared import metrics; metrics.ENQUEUE_FAILURES.inc(3)"
# As a process of the same id had left them.
REUSED = """
import os, pathlib, shutil
directory = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
for kind in ("counter", "gauge_mostrecent", "histogram"):
    shutil.copy(directory / "counter_1.db", directory / f"{kind}_{os.getpid()}.db")
"""
TORN = {
    "empty": b"",
    "one byte": b"\1",
    "a length alone": b"\xff\0\0\0",
    "no text": b"\x30\0\0\0\0\0\0\0\x04\0\0\0\xff\xff\xff\xff" + bytes(32),
    "no JSON": b"\x30\0\0\0\0\0\0\0\x04\0\0\0what" + bytes(32),
    "other JSON": b"\x30\0\0\0\0\0\0\0\x04\0\0\0true" + bytes(32),
    "beyond its end": b'\xff\xff\xff\x7f\0\0\0\0\x04\0\0\0["a"' + bytes(32),
}


def run(directory: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)} | environment
    return subprocess.run(
        [sys.executable, *command], cwd="/", env=everything, capture_output=True, text=True, check=False
    )


def stores(settings: Settings) -> dict[str, str]:
    return {"DATABASE_URL": settings.database_url, "BROKER_URL": settings.broker_url}


def counted(directory: Path) -> float:
    samples = [sample for metric in Files(directory).collect() for sample in metric.samples]
    return sum(each.value for each in samples if each.name == "study_ingest_enqueue_failures_total")


def test_the_directory_is_its_owners_alone(tmp_path: Path) -> None:
    assert run(tmp_path / "metrics", "-c", COUNT).returncode == 0
    assert (tmp_path / "metrics").stat().st_mode & 0o777 == 0o700
    assert counted(tmp_path / "metrics") == 3


@pytest.mark.parametrize("command", [["stats"], ["uploads", "replay", "--status", "dead", "--yes"]])
def test_commands_leave_nothing_there(tmp_path: Path, settings: Settings, command: list[str]) -> None:
    ran = run(tmp_path / "metrics", "-m", "cli", *command, **stores(settings))
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "metrics").exists()


def test_the_command_that_serves_them_leaves_nothing_there(tmp_path: Path, settings: Settings) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run(directory, "-m", "cli", "metrics", "--port", port, **stores(settings))
    assert "--port: cannot listen on this port" in ran.stderr
    assert list(directory.iterdir()) == []


def test_torn_files_are_passed_over(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    run(directory, "-c", COUNT)
    for number, torn in enumerate(TORN.values()):
        for name in (f"counter_{number}.db", f"histogram_{number}.db", "gauge.db", f"{number}.db"):
            (directory / name).write_bytes(torn)
    (directory / "counter_97.db").symlink_to("nowhere")
    (directory / "counter_98.db").mkdir()
    assert counted(directory) == 3


@pytest.mark.parametrize("torn", ["a length alone", "other JSON", "beyond its end"])
def test_a_process_whose_id_another_had_starts(tmp_path: Path, torn: str) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "counter_1.db").write_bytes(TORN[torn])
    ran = run(directory, "-c", REUSED + COUNT)
    assert ran.returncode == 0, ran.stderr
    assert counted(directory) == 3


def test_a_directory_that_cannot_be_made_costs_the_metrics_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = run(tmp_path / "file" / "metrics", "-c", COUNT)
    assert ran.returncode == 0, ran.stderr
    assert "metrics.path_unusable" in ran.stdout + ran.stderr


GROWS = """
import resource
from shared import metrics
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for n in range(1000):
    metrics.REQUESTS.labels("route" * 10, "GET", str(n)).inc(n)
print(metrics.REQUESTS.labels("route" * 10, "GET", "7")._value.get(), end="")
"""


def test_values_for_which_a_disk_has_no_room_are_counted_in_memory(tmp_path: Path) -> None:
    ran = run(tmp_path, "-c", GROWS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("7.0")
    assert "metrics.path_unusable" in ran.stdout
