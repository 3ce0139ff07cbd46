"""Break a transaction at any of its statements, slow all of a kind down, or freeze a whole server."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import Connection, Engine, event

from tests.processes import ROOT

# Waits until the backend is gone, for a minute at most.
_KILL = "SELECT pg_terminate_backend(%s, 60000)"

# A transaction takes ten uploads: no machine is so fast that it works many of them off before a kill.
_SLOW = """
    CREATE TABLE slow AS SELECT {seconds} AS seconds;
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(seconds) FROM slow; RETURN NULL; END $$;
    CREATE TRIGGER slowly AFTER INSERT ON study_question_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION slowly();
"""

Fault = Callable[[psycopg.Connection], None]


class BrokenError(Exception):
    """What an injected fault raises."""


def driver(connection: Connection) -> psycopg.Connection:
    """Return psycopg's connection under SQLAlchemy's."""
    found = connection.connection.driver_connection
    assert isinstance(found, psycopg.Connection)
    return found


def interrupt(_: psycopg.Connection) -> None:
    raise BrokenError


def kill_backend(connection: psycopg.Connection) -> None:
    """Let the server end the connection's process, as a crash or an operator would."""
    info = connection.info
    with psycopg.connect(info.dsn, password=info.password, autocommit=True) as other:
        assert other.execute(_KILL, [info.backend_pid]).fetchone() == (True,)


@contextmanager
def broken(engine: Engine, moment: str, number: int, fault: Fault) -> Iterator[None]:
    """Inject the fault `before` or `after` the statement of that number, or at the `commit`; 0 is the first.

    Statements are counted as psycopg gets them, wherever they are sent; the engine must connect again.
    """
    numbers = count()

    def inject(at: str, connection: psycopg.Connection) -> None:
        if at == moment and next(numbers) == number:
            fault(connection)

    class FailingCursor(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **options: Any) -> Any:
            inject("before", self.connection)
            super().execute(*args, **options)
            inject("after", self.connection)
            return self

    def prepare(connection: psycopg.Connection, _: object) -> None:
        connection.cursor_factory = FailingCursor

    def inject_at_commit(connection: Connection) -> None:
        inject("commit", driver(connection))

    with _listening(engine, "connect", prepare), _listening(engine, "commit", inject_at_commit):
        yield


@contextmanager
def _listening(engine: Engine, moment: str, listener: Callable[..., None]) -> Iterator[None]:
    event.listen(engine, moment, listener)
    try:
        yield
    finally:
        event.remove(engine, moment, listener)


def slow_replays(engine: Engine, seconds: float) -> None:
    """Let each replay take so long from now on."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_SLOW.format(seconds=seconds))


def fast_replays(engine: Engine) -> None:
    """Let replays take no longer than they need; waits for none of them, as to drop the trigger would."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM slow")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server with all its children, as a machine that hangs does."""
    parent = psutil.Process(pid)
    parent.suspend()  # first, so that it starts no more
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):  # one may be ending just now
            process.suspend()
    try:
        yield
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def wrong_clock(offset: str) -> dict[str, str]:
    """Return the environment of a process whose clock is off, such as `-2d`; skip without faketime."""
    if not shutil.which("faketime"):
        pytest.skip("the program faketime is not installed")
    ask = ["faketime", "-m", "now", "printenv", "LD_PRELOAD"]
    library = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    faked = str(ROOT / "tests" / "chaos" / "faked")  # where time.sleep works beside it
    return {
        "LD_PRELOAD": library,
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": faked,
    }
