"""The short form of the chaos run, and proof that it can fail."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos.fault import Fault
from tests.chaos.run import FAULTS, run
from tests.chaos.system import COMMANDS

# Faults take most of this time.
pytestmark = pytest.mark.timeout(600)
SEED = 1


def named(*names: str) -> list[Fault]:
    found = [fault for fault in FAULTS if fault.name in names]
    assert len(found) == len(names)
    return found


def weakened(**changes: tuple[str, str]) -> Mapping[str, str]:
    """Return the commands with a part of some replaced."""
    assert all(old in COMMANDS[name] for name, (old, _) in changes.items())
    return COMMANDS | {name: COMMANDS[name].replace(*change) for name, change in changes.items()}


def test_I1_I2_every_fault_once_loses_and_doubles_nothing(home: Path) -> None:
    result = run(home, SEED, FAULTS)
    result.show(FAULTS)
    possible = {fault.name for fault in FAULTS if not fault.why_not()}
    assert {injection.fault for injection in result.injections} == possible
    assert result.is_clean
    assert result.figures["accepted"] > 100


def test_without_a_sweeper_the_harness_reports_losses(home: Path) -> None:
    commands = {name: command for name, command in COMMANDS.items() if name != "sweeper"}
    result = run(home, SEED, named("redis wiped, messages waiting"), commands=commands)
    assert result.figures["lost"] > 0


def test_without_the_learners_lock_the_harness_reports_wrong_progress(home: Path) -> None:
    commands = weakened(worker=("worker.app", "tests.chaos.weak.unlocked_worker"))
    result = run(home, SEED, named("worker frozen", "postgres frozen"), commands=commands)
    assert result.figures["verify_differences"] > 0


def test_with_early_acknowledgement_and_no_rows_the_harness_reports_losses(home: Path) -> None:
    commands = weakened(
        web=("api", "tests.chaos.weak.early_web"),
        worker=("worker.app", "tests.chaos.weak.early_worker"),
    )
    result = run(home, SEED, named("redis wiped, messages waiting"), commands=commands)
    assert result.figures["lost"] > 0
