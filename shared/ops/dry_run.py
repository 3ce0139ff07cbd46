"""A dry run: replay an upload, compare progress before and after, and roll back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared import db, failures
from shared.errors import ReplayRefusedError, StudyIngestError
from shared.ops import actions
from shared.ops.reports import UploadReport, report_upload
from shared.payload import SPACES
from shared.replay import replay
from shared.study.store import lock_owners
from shared.uploads import lock

# While a dry run waits for a lock, workers wait for the locks that it holds: so its wait is short.
_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '2s'")

_SENT = text("""
    SELECT DISTINCT normalize(btrim(sent ->> 'pub_id', :spaces))
    FROM uploads CROSS JOIN jsonb_array_elements(payload -> 'attempts') AS sent
    WHERE client_session_uuid = :id
""")

_CARDS = text("""
    SELECT i.pub_id, p.due, p.stability, p.difficulty, p.wrong_note AS note
    FROM published_items i JOIN study_question_progress p ON p.study_question_id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) ORDER BY i.pub_id COLLATE "C"
""")


class Card(NamedTuple):
    """The part of a question's progress that a dry run compares."""

    due: date
    stability: float
    difficulty: float
    note: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of a dry run: the upload after the replay, and progress before and after it, by public id.

    `already`: why a replay would do nothing, if the upload is ingested.
    """

    upload: UploadReport
    before: Mapping[str, Card]
    after: Mapping[str, Card]
    already: actions.RequestResult | None = None

    @property
    def moved(self) -> list[tuple[str, Card | None, Card | None]]:
        """List the questions whose progress would change, each with its progress before and after."""
        pub_ids = sorted(self.before.keys() | self.after.keys())
        cards = [(each, self.before.get(each), self.after.get(each)) for each in pub_ids]
        return [card for card in cards if card[1] != card[2]]


def dry_run_replay(  # noqa: PLR0913  # the options of the command
    connection: Connection,
    client_session_uuid: UUID,
    *,
    now: datetime,
    default_zone: str,
    skipped: bool = False,
    clock_shift: timedelta | None = None,
) -> DryRun:
    """Replay an upload (set back first if it is rejected or dead), then roll back to a savepoint.

    With `skipped`, add its skipped attempts instead; with `clock_shift`, shift its times first. Nothing
    stays, except that sequences have advanced. Locks are taken in the order of a replay, and released with
    the savepoint. Raises UnknownUploadError, and ReplayRefusedError where a replay would be refused or would
    fail, or where another transaction holds a lock for too long.
    """
    savepoint = connection.begin_nested()
    try:
        with actions.refusing_if_busy(client_session_uuid):
            db.execute(connection, _LOCK_TIMEOUT)
            lock(connection, [client_session_uuid])
            pub_ids = db.scalars(connection, _SENT, {"id": client_session_uuid, "spaces": SPACES})
            lock_owners(connection, [pub_ids], default_zone)
            before = _cards(connection, pub_ids)
            already = None
            if skipped:
                actions.add_skipped(connection, client_session_uuid, now=now, default_zone=default_zone)
            elif clock_shift is not None:
                actions.shift_clock(
                    connection, client_session_uuid, clock_shift, now=now, default_zone=default_zone
                )
                replay(connection, [client_session_uuid], now=now, default_zone=default_zone)
            else:
                done = actions.set_back(connection, client_session_uuid)
                already = (
                    done if done in {actions.RequestResult.INGESTED, actions.RequestResult.VOIDED} else None
                )
                replay(connection, [client_session_uuid], now=now, default_zone=default_zone)
            upload = report_upload(connection, client_session_uuid)
            return DryRun(upload, before, _cards(connection, pub_ids), already)
    except StudyIngestError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever the error is, a real replay would fail, too
        raise ReplayRefusedError(f"a replay would fail now: {failures.describe(error)}") from None
    finally:
        savepoint.rollback()


def _cards(connection: Connection, pub_ids: list[str]) -> dict[str, Card]:
    return {pub_id: Card(*card) for pub_id, *card in db.execute(connection, _CARDS, {"pub_ids": pub_ids})}
