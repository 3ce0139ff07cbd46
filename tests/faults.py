"""Break a transaction at any of its statements, make all replays slow, or freeze a whole server."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text

from tests.processes import ROOT

# Waits for the end of the backend, a minute at most.
_KILL = "SELECT pg_terminate_backend(%s, 60000)"

# A transaction replays ten uploads at most: so slowed, no machine replays many uploads before a kill.
_SLOW = """
    CREATE TABLE slow AS SELECT {seconds} AS seconds;
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(seconds) FROM slow; RETURN NULL; END $$;
    CREATE TRIGGER slowly AFTER INSERT ON study_question_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION slowly();
"""

_REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION {error}; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON study_question_attempts FOR EACH ROW
    WHEN (NEW.study_question_id = 1000) EXECUTE FUNCTION refuse();
"""

Fault = Callable[[psycopg.Connection], None]


class BrokenError(Exception):
    """The error that the fault `interrupt` raises."""


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
    """Inject a fault `before` or `after` statement `number`, or at `commit` number `number`; 0 is the first.

    Statements are counted as psycopg gets them, in all connections that the engine opens in this `with`; the
    engine must have no open connection before it.
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


def refuse_answers(engine: Engine, error: str) -> None:
    """Make the database fail whenever question 1000 is answered; `error`: what PL/pgSQL raises."""
    with engine.begin() as connection:
        connection.execute(text(_REFUSE.format(error=error)))


def slow_replays(engine: Engine, seconds: float) -> None:
    """Let each replay that inserts attempts wait for `seconds`, from now on."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_SLOW.format(seconds=seconds))


def fast_replays(engine: Engine) -> None:
    """End `slow_replays`, without waiting for running replays; dropping the trigger would wait for them."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM slow")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server and its children by SIGSTOP until the `with` ends, as if their machine hung."""
    parent = psutil.Process(pid)
    parent.suspend()  # first, so that the parent starts no more children
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):  # a child may end just now
            process.suspend()
    try:
        yield
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def wrong_clock(offset: str) -> dict[str, str]:
    """Return the environment of a process with a wrong clock, e.g. `-2d`; skip the test without faketime."""
    if reason := no_faketime():
        pytest.skip(reason)
    return faked_clock() | {"FAKETIME": offset}


def no_faketime() -> str:
    """Return why faketime cannot be used here; an empty text if it can."""
    if sys.platform != "linux":
        return "only written for Linux"
    return "" if shutil.which("faketime") else "the program faketime is not installed"


@cache
def faked_clock() -> dict[str, str]:
    """Return what every process with a faked clock needs in its environment; the monotonic clock is right.

    Ask faketime once where its library is: files of a killed process with the same pid make it fail.
    """
    ask = ["faketime", "-m", "now", "printenv", "LD_PRELOAD"]
    library = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    faked = str(ROOT / "tests" / "chaos" / "faked")  # makes time.sleep work under faketime
    return {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": faked}
