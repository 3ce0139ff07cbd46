"""Our own Postgres and Valkey, so that a bare machine needs neither installed."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.local.places import ServerError, account_for, binaries, locked, settle, socket_directory
from cli.local.servers import Postgres, Valkey

__all__ = ["ServerError", "Servers"]


class Servers:
    """Run the embedded servers for the length of a `with`; they keep their state in `directory`.

    `durable=False` gives up surviving a power cut for speed: for tests only. `postgres` and `valkey` may be
    stopped, killed and restarted one by one, from a thread that lives until the end.
    """

    postgres: Postgres
    valkey: Valkey

    def __init__(self, directory: Path, *, durable: bool, postgres: bool = True, valkey: bool = True) -> None:
        self.directory, self.durable = directory, durable
        self._wants_postgres, self._wants_valkey = postgres, valkey
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            self._start(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def database_url(self) -> str:
        """Say where the database is, as libpq and SQLAlchemy both read it."""
        return self.postgres.url

    @property
    def broker_url(self) -> str:
        """Say where Celery's queues are."""
        return self.valkey.broker_url

    @property
    def redis_url(self) -> str:
        """Say where the spool is."""
        return self.valkey.redis_url

    def _start(self, cleanup: ExitStack) -> None:
        account = account_for(self.directory)
        home = settle(self.directory, account)
        cleanup.enter_context(locked(home))
        programs = binaries(home, account)
        sockets = socket_directory(home, account)
        cleanup.callback(shutil.rmtree, sockets, ignore_errors=True)
        if self._wants_postgres:
            self.postgres = Postgres(home, account, programs.postgres, sockets, durable=self.durable)
            cleanup.callback(self.postgres.stop)
            self.postgres.start()
        if self._wants_valkey:
            self.valkey = Valkey(home, account, programs.valkey, sockets, durable=self.durable)
            cleanup.callback(self.valkey.stop)
            self.valkey.start()
