"""A process of the Procfile loads nothing heavy that it does not use: each copy takes memory of its own."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT

# Nothing listens there; a process looks when it is loaded whether Postgres has other settings.
STORES = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "BROKER_URL": "redis://127.0.0.1:1"}
UNUSED = {"sqlalchemy.orm", "alembic"}


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("api.__main__", UNUSED),
        ("worker.tasks", UNUSED),
        ("worker.sweeper", UNUSED),
        ("worker.flower", {"sqlalchemy", "psycopg"}),
    ],
)
def test_a_process_loads_nothing_heavy_that_it_does_not_use(module: str, unused: set[str]) -> None:
    script = f"import sys, {module}; print('loaded', *sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | STORES,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = ran.stdout.rpartition("loaded")[2].split()
    assert unused & set(loaded) == set()
    assert module in loaded
