"""Rehearse a replay: really run it, see what it does to every card, and roll it back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, text

from shared.db import execute, scalars
from shared.errors import ReplayRefusedError, StudyIngestError
from shared.failures import describe
from shared.ops.actions import Revival, add_skipped, revive
from shared.ops.reports import Dossier, open_dossier
from shared.replay import replay
from shared.study.store import lock_owner

# Whoever rehearses holds a worker up: give way rather than wait long in its line.
_PATIENCE = text("SET LOCAL lock_timeout = '2s'")

_LOCK = text("SELECT 1 FROM uploads WHERE client_session_uuid = :id FOR NO KEY UPDATE")

_SENT = text("""
    SELECT DISTINCT sent ->> 'pub_id'
    FROM uploads CROSS JOIN jsonb_array_elements(payload -> 'attempts') AS sent
    WHERE client_session_uuid = :id
""")

_CARDS = text("""
    SELECT i.pub_id, p.due, p.stability, p.difficulty, p.wrong_note AS note
    FROM published_items i JOIN study_question_progress p ON p.study_question_id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) ORDER BY i.pub_id COLLATE "C"
""")


class Card(NamedTuple):
    """What a learner sees of a question's progress."""

    due: date
    stability: float
    difficulty: float
    note: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a replay would do: the upload as it would stand, and its cards before and after, by public id.

    `already`: how it is ingested, so that a replay would do nothing.
    """

    upload: Dossier
    before: Mapping[str, Card]
    after: Mapping[str, Card]
    already: Revival | None = None

    @property
    def moved(self) -> list[tuple[str, Card | None, Card | None]]:
        """List the cards that would change, before and after."""
        pub_ids = sorted(self.before.keys() | self.after.keys())
        cards = [(each, self.before.get(each), self.after.get(each)) for each in pub_ids]
        return [card for card in cards if card[1] != card[2]]


def rehearse_replay(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> Rehearsal:
    """Rehearse the replay of an upload that waits or has failed; one that is ingested stays as it is."""
    already: Revival | None = None

    def act(connection: Connection) -> None:
        nonlocal already
        revival = revive(connection, client_session_uuid)
        if revival in {Revival.INGESTED, Revival.VOID}:
            already = revival
        if revival is Revival.PURGED:
            raise ReplayRefusedError(f"the payload of {client_session_uuid} is purged")
        replay(connection, client_session_uuid, now=now, default_zone=default_zone)

    rehearsal = rehearse(connection, client_session_uuid, act, default_zone=default_zone)
    return replace(rehearsal, already=already)


def rehearse_skipped(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> Rehearsal:
    """Rehearse the adding of what an ingested upload lacks."""

    def act(connection: Connection) -> None:
        add_skipped(connection, client_session_uuid, now=now, default_zone=default_zone)

    return rehearse(connection, client_session_uuid, act, default_zone=default_zone)


def rehearse(
    connection: Connection,
    client_session_uuid: UUID,
    act: Callable[[Connection], object],
    *,
    default_zone: str,
) -> Rehearsal:
    """Act on an upload within a savepoint that is always rolled back; only sequences move on.

    The locks of a replay are taken in its order, and given back with the savepoint.
    """
    savepoint = connection.begin_nested()
    try:
        return _rehearse(connection, client_session_uuid, act, default_zone)
    except StudyIngestError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, a real replay would meet it too
        raise ReplayRefusedError(_why(client_session_uuid, error)) from None
    finally:
        savepoint.rollback()


def _why(client_session_uuid: UUID, error: Exception) -> str:
    if isinstance(getattr(error, "orig", None), LockNotAvailable | DeadlockDetected):
        return f"{client_session_uuid}, or its learner, is being worked on right now; try again"
    return f"a replay would fail now: {describe(error)}"


def _rehearse(
    connection: Connection, client_session_uuid: UUID, act: Callable[[Connection], object], default_zone: str
) -> Rehearsal:
    execute(connection, _PATIENCE)
    execute(connection, _LOCK, {"id": client_session_uuid})
    pub_ids = scalars(connection, _SENT, {"id": client_session_uuid})
    lock_owner(connection, pub_ids, default_zone)
    before = _cards(connection, pub_ids)
    act(connection)
    upload = open_dossier(connection, client_session_uuid)
    return Rehearsal(upload, before, _cards(connection, pub_ids))


def _cards(connection: Connection, pub_ids: list[str]) -> dict[str, Card]:
    return {pub_id: Card(*card) for pub_id, *card in execute(connection, _CARDS, {"pub_ids": pub_ids})}
