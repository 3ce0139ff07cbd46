"""The supervisor: what ends is started again, and each process gets its time to end."""

import os
import pty
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import psutil
import pytest

from cli.local.places import ServerError
from cli.local.supervisor import ProcessEndedError, Restarts, Supervisor, to_files, to_terminal
from cli.local.up import read_procfile
from tests.processes import PATIENCE_S, living, on_linux, until

SLEEP = "sleep 600"
SUPERVISE = """
import os, sys
from cli.local.supervisor import Supervisor, to_files, to_terminal
commands = {"one": sys.argv[1], "other": sys.argv[2]}
with to_terminal() as output, Supervisor(commands, output, os.environ) as processes:
    processes.keep()
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
    # Among all descendants are backends of Postgres, which come and go.
    named = living(process.children(recursive=True), psutil.Process.name)
    return [child for child, name in named if name == "sleep"]


def wait_for_an_end(processes: Supervisor) -> None:
    while True:
        processes.check()


def test_a_process_that_ends_is_named_and_takes_the_others_along(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessEndedError, match="broken ended with exit code 3"),
        supervisor(tmp_path, sound=SLEEP, broken="sh -c 'exit 3'") as processes,
    ):
        wait_for_an_end(processes)
    assert _sleepers(psutil.Process()) == []


def test_a_process_that_is_killed_is_started_again_and_leaves_no_children() -> None:
    with supervise("sh -c 'sleep 600 & wait'", SLEEP, stdout=subprocess.PIPE) as process:
        before = children(2)
        (leader,) = (each.parent() for each in before if each.ppid() != process.pid)
        assert leader
        leader.kill()
        until(lambda: len({*_sleepers(psutil.Process())} - {*before}) == 1, "another child sleeps")
        assert len(children(2)) == 2
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert "one was killed by SIGKILL; it is started again" in process.stdout.read()


def look_for_ever(restarts: Restarts) -> None:
    for second in count():
        restarts.look(second)


def test_what_fails_at_once_is_started_after_longer_and_longer_pauses_and_then_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    starts: list[int] = []
    restarts = Restarts("broken", lambda: 3, lambda: starts.append(0))
    with pytest.raises(
        ProcessEndedError, match="broken ended with exit code 3, soon after each of its last 8 starts"
    ):
        look_for_ever(restarts)
    assert len(starts) == 7
    shown = capsys.readouterr().out
    assert re.findall(r"again in (\d+) s", shown) == ["1", "2", "4", "8", "16", "30", "30"]


def test_what_runs_for_a_while_each_time_is_started_again_for_ever() -> None:
    starts: list[int] = []
    codes = iter([None, 1] * 100)
    restarts = Restarts("frail", lambda: next(codes), lambda: starts.append(0))
    for minute in range(200):
        restarts.look(minute * 60.0)
    assert len(starts) == 100


def test_a_start_that_fails_is_named_and_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    failures = ["valkey did not start", "valkey did not start"]

    def start() -> None:
        if failures:
            raise ServerError(failures.pop())

    restarts = Restarts("valkey", lambda: 1 if failures else None, start)
    for second in range(20):
        restarts.look(second)
    assert not failures
    assert capsys.readouterr().out.count("valkey did not start\n") == 2


def test_only_the_leader_gets_sigterm_and_stops_its_children(tmp_path: Path) -> None:
    script = tmp_path / "leader.sh"
    script.write_text(
        "trap 'kill -0 $child && echo child unharmed; exit' TERM; sleep 600 & child=$!; echo up; wait"
    )
    log = tmp_path / "leader.log"
    with supervisor(tmp_path, leader=f"sh {script}"):
        [child] = children(1)
        until(lambda: "up" in log.read_text(), "the leader waits")
    assert log.read_text().split("\n") == ["up", "child unharmed", ""]
    zombie = [(child, psutil.STATUS_ZOMBIE)]
    until(lambda: living([child], psutil.Process.status) in ([], zombie), "the rest is killed")


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
    gone, alive = psutil.wait_procs(sleepers, timeout=PATIENCE_S)
    assert (len(gone), alive) == (2, [])


def test_lines_are_shown_under_the_name_of_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"web": "sh -c 'echo one; echo two >&2; printf three'"}
    with (
        pytest.raises(ProcessEndedError),
        to_terminal() as output,
        Supervisor(commands, output, os.environ) as processes,
    ):
        wait_for_an_end(processes)
    assert capsys.readouterr().out == "web      | one\nweb      | two\nweb      | three\n"


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_names_are_coloured_on_a_terminal_unless_unwanted(
    environment: dict[str, str], *, coloured: bool
) -> None:
    reading, terminal = pty.openpty()
    with supervise(
        "echo hello", SLEEP, stdout=terminal, stderr=terminal, env=os.environ | environment
    ) as process:
        shown = ""
        while "hello" not in shown:
            shown += os.read(reading, 10_000).decode()
        process.send_signal(signal.SIGINT)
    for end in (reading, terminal):
        os.close(end)
    assert ("\x1b[36mone " in shown) is coloured


def test_the_procfile_can_be_read() -> None:
    processes = read_procfile()
    assert list(processes) == ["web", "worker", "sweeper", "flower"]
    assert processes["web"] == "python -m api"
