"""Break a transaction at any of its statements, or freeze a whole server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import psutil
from sqlalchemy import Connection, Engine, event, text

# Waits until the backend is gone, for a few seconds at most.
_KILL = text("SELECT pg_terminate_backend(:pid, 5000)")

Fault = Callable[[Connection], None]


class BrokenError(Exception):
    """What an injected fault raises."""


def interrupt(_: Connection) -> None:
    raise BrokenError


def kill_backend(connection: Connection) -> None:
    """Let the server end the connection's process, as a crash or an operator would."""
    pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]  # psycopg's
    with connection.engine.connect() as other:
        assert other.scalar(_KILL, {"pid": pid})


@contextmanager
def broken(engine: Engine, moment: str, number: int, fault: Fault) -> Iterator[None]:
    """Strike before or after the statement of that number, or at its commit; 0 is the first."""
    numbers = count()

    def strike(connection: Connection, *_: Any) -> None:
        if next(numbers) == number:
            fault(connection)

    event.listen(engine, moment, strike)
    try:
        yield
    finally:
        event.remove(engine, moment, strike)


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
