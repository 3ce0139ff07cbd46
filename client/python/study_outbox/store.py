"""The sessions of learners in a SQLite file, which several processes may share."""

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

# For this many seconds, only the process that claimed a session sends it; then any process may claim it.
LEASE = 60.0
BUSY = 30.0

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS sessions (
        learner TEXT NOT NULL, id TEXT NOT NULL, session TEXT NOT NULL, added REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL,
        leased_until REAL NOT NULL DEFAULT 0, problem TEXT,
        PRIMARY KEY (learner, id)
    )
"""
# The index has all columns by which a session is chosen: sessions of 100 KB are not read for that.
_INDEX = """
    CREATE INDEX IF NOT EXISTS sessions_order
    ON sessions (learner, state, added, id, next_at, leased_until)
"""
_COLUMNS = "id, session, added, state, tries, next_at, problem"
# A time further away than the longest wait was written before the clock was set back: it counts as passed.
_CLAIM = f"""
    UPDATE sessions SET leased_until = :now + :lease
    WHERE learner = :learner AND id = (
        SELECT id FROM sessions
        WHERE learner = :learner AND state = 'waiting'
            AND (next_at <= :now OR next_at > :now + 3600 OR :all)
            AND (leased_until <= :now OR leased_until > :now + 2 * :lease)
            AND id NOT IN (SELECT value FROM json_each(:but))
        ORDER BY added, id LIMIT 1 OFFSET :skip)
    RETURNING {_COLUMNS}
"""  # noqa: S608  # made of the constant above


class KnownSessionError(ValueError):
    """Another session has this `client_session_uuid`."""


@dataclass(frozen=True, slots=True)
class Item:
    """A session in the outbox, without `sent_at`; times in seconds since 1970.

    `problem` is the server's problem (RFC 9457) if the session is refused.
    """

    id: str
    session: dict[str, Any]
    added: float
    state: Literal["waiting", "refused"]
    tries: int
    next_at: float
    problem: dict[str, Any] | None


class Store:
    """The sessions of one learner in the file; threads may share a Store."""

    def __init__(self, path: str | PathLike[str], learner: str) -> None:
        self._learner = learner
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            self._write_ahead()
            self._connection.execute(_SCHEMA)
            self._connection.execute(_INDEX)
        except BaseException:
            self._connection.close()
            raise

    def _write_ahead(self) -> None:
        # Here SQLite itself does not wait for another process that opens the new file at the same time.
        end = time.monotonic() + BUSY
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def add(self, session_id: str, text: str) -> None:
        """Keep a new session, on the disk; if it is there already, with the same content, nothing changes."""
        now = time.time()
        with self._transaction("FULL") as cursor:
            found = cursor.execute(
                "SELECT session FROM sessions WHERE learner = ? AND id = ?", (self._learner, session_id)
            ).fetchone()
            if found is None:
                cursor.execute(
                    "INSERT INTO sessions (learner, id, session, added, next_at) VALUES (?, ?, ?, ?, ?)",
                    (self._learner, session_id, text, now, now),
                )
            elif json.loads(found[0]) != json.loads(text):
                raise KnownSessionError(f"another session has the client_session_uuid {session_id}")

    def claim(self, *, everything: bool, but: Collection[str], skip: int) -> Item | None:
        """Take, for LEASE seconds, the oldest session that is due; None if there is none.

        `everything`: a waiting session that is not due may be taken, too. `but`: ids of sessions that are not
        taken. `skip`: how many of the oldest sessions are passed over.
        """
        bound = {
            "learner": self._learner,
            "lease": LEASE,
            "all": everything,
            "but": json.dumps(list(but)),
            "skip": skip,
        }
        with self._transaction() as cursor:
            # Read the clock only now: this may have waited for another process, whose lease began meanwhile.
            row = cursor.execute(_CLAIM, bound | {"now": time.time()}).fetchone()
        return None if row is None else _item(row)

    def release(self, session_id: str) -> None:
        """End the lease of a session, which can then be claimed at once."""
        self._change(session_id, "leased_until = 0")

    def postpone(self, session_id: str, tries: int, next_at: float) -> None:
        """Record how often a session was tried, and when to try it next."""
        self._change(session_id, "leased_until = 0, tries = ?, next_at = ?", tries, next_at)

    def refuse(self, session_id: str, problem: dict[str, Any]) -> None:
        """Mark a session as refused, with the server's problem."""
        self._change(session_id, "leased_until = 0, state = 'refused', problem = ?", json.dumps(problem))

    def delete(self, session_id: str) -> None:
        """Delete a session, if it is there."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM sessions WHERE learner = ? AND id = ?", (self._learner, session_id))

    def items(self) -> list[Item]:
        """List what is kept: refused sessions first, then waiting ones, each kind oldest first."""
        query = f"SELECT {_COLUMNS} FROM sessions WHERE learner = ? ORDER BY state, added, id"  # noqa: S608
        with self._lock, closing(self._connection.cursor()) as cursor:
            return [_item(row) for row in cursor.execute(query, (self._learner,))]

    def count(self) -> tuple[int, int, float | None, float | None]:
        """Count waiting and refused sessions; find when the oldest was added, and when the next is due.

        Both times are of waiting sessions.
        """
        query = """
            SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'refused'),
                min(added) FILTER (WHERE state = 'waiting'),
                min(max(next_at, leased_until)) FILTER (WHERE state = 'waiting')
            FROM sessions WHERE learner = ?
        """
        with self._lock, closing(self._connection.cursor()) as cursor:
            waiting, refused, oldest, next_at = cursor.execute(query, (self._learner,)).fetchone()
        return waiting, refused, oldest, next_at

    def _change(self, session_id: str, change: str, *values: object) -> None:
        statement = f"UPDATE sessions SET {change} WHERE learner = ? AND id = ?"  # noqa: S608  # our own words
        with self._transaction() as cursor:
            cursor.execute(statement, (*values, self._learner, session_id))

    @contextmanager
    def _transaction(self, synchronous: Literal["NORMAL", "FULL"] = "NORMAL") -> Iterator[sqlite3.Cursor]:
        # A power cut may undo every change except `add`: then a session is sent again, which changes nothing,
        # or a session that the learner gave up is there again.
        with self._lock, closing(self._connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA synchronous = {synchronous}")
            # Not deferred: two transactions that read first and then write would refuse each other.
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")


def _item(row: tuple[Any, ...]) -> Item:
    session_id, session, added, state, tries, next_at, problem = row
    return Item(
        session_id,
        json.loads(session),
        added,
        state,
        tries,
        next_at,
        json.loads(problem) if problem else None,
    )
