"""The supervisor: all processes run or none does, and each gets its time to end."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.local.supervisor import ProcessEndedError, Supervisor, to_files, to_terminal
from cli.local.up import read_procfile
from tests.processes import until

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's death"
)
SLEEP = "sleep 600"
SUPERVISE = """
import os, sys
from cli.local.supervisor import Supervisor, to_files, to_terminal
commands = {"one": sys.argv[1], "other": sys.argv[2]}
with to_terminal() as output, Supervisor(commands, output, os.environ) as processes:
    processes.wait()
"""


def supervisor(directory: Path, *, grace: float = 20.0, **commands: str) -> Supervisor:
    return Supervisor(commands, to_files(directory), os.environ, grace)


def supervise(*commands: str, **options: object) -> subprocess.Popen[str]:
    """Run a supervisor in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", SUPERVISE, *commands], text=True, **options)


def children(count: int) -> list[psutil.Process]:
    """Wait until our process has so many children of children, and return them."""
    me = psutil.Process()
    until(lambda: len(_sleepers(me)) == count, f"{count} sleepers run")
    return _sleepers(me)


def _sleepers(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if child.name() == "sleep"]


def test_a_process_that_ends_is_named_and_takes_the_others_along(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessEndedError, match="broken ended with exit code 3"),
        supervisor(tmp_path, sound=SLEEP, broken="sh -c 'exit 3'") as processes,
    ):
        processes.wait()
    assert _sleepers(psutil.Process()) == []


def test_a_process_that_is_killed_is_named_with_the_signal(tmp_path: Path) -> None:
    with supervisor(tmp_path, one=SLEEP) as processes:
        children(1)[0].kill()
        with pytest.raises(ProcessEndedError, match="one was killed by SIGKILL"):
            processes.wait()


def test_even_a_process_that_ends_well_is_missed(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessEndedError, match="one ended with exit code 0"),
        supervisor(tmp_path, one="true") as processes,
    ):
        processes.wait()


def test_a_leader_is_told_to_stop_and_its_children_are_left_to_it(tmp_path: Path) -> None:
    script = tmp_path / "leader.sh"
    script.write_text(
        "trap 'kill -0 $child && echo child unharmed; exit' TERM; sleep 600 & child=$!; echo up; wait"
    )
    log = tmp_path / "leader.log"
    with supervisor(tmp_path, leader=f"sh {script}"):
        [child] = children(1)
        until(lambda: "up" in log.read_text(), "the leader waits")
    assert log.read_text().split("\n") == ["up", "child unharmed", ""]
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the rest is killed")


def test_a_process_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.sh"
    script.write_text("trap '' TERM; echo up; while :; do sleep 0.05; done")
    log = tmp_path / "stubborn.log"
    with supervisor(tmp_path, grace=0.2, stubborn=f"sh {script}") as processes:
        until(lambda: "up" in log.read_text(), "it runs")
        processes.check()
    with pytest.raises(ProcessEndedError, match="stubborn was killed by SIGKILL"):
        processes.check()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=on_linux)])
def test_no_process_outlives_the_supervisor(number: signal.Signals) -> None:
    with supervise(SLEEP, SLEEP, stderr=subprocess.DEVNULL) as process:
        sleepers = children(2)
        process.send_signal(number)
    gone, alive = psutil.wait_procs(sleepers, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_lines_are_shown_under_the_name_of_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"web": "sh -c 'echo one; echo two >&2; printf three'"}
    with (
        pytest.raises(ProcessEndedError),
        to_terminal() as output,
        Supervisor(commands, output, os.environ) as processes,
    ):
        processes.wait()
    assert capsys.readouterr().out == "web      | one\nweb      | two\nweb      | three\n"


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_names_are_coloured_on_a_terminal_unless_unwanted(
    environment: dict[str, str], *, coloured: bool
) -> None:
    reading, terminal = pty.openpty()
    with supervise("echo hello", SLEEP, stdout=terminal, stderr=terminal, env=os.environ | environment):
        pass
    shown = os.read(reading, 10_000).decode()
    for end in (reading, terminal):
        os.close(end)
    assert "hello" in shown
    assert ("\x1b[36mone " in shown) is coloured


def test_the_procfile_can_be_read() -> None:
    processes = read_procfile()
    assert list(processes) == ["web", "worker", "sweeper", "flower"]
    assert processes["web"] == "python -m api"
