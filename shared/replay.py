"""Replay uploads in one transaction: all of their effects are committed, or none."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from shared import attempts, uploads
from shared.errors import OvertakenError
from shared.payload import Upload
from shared.plan import SKIPPED, Fate, Plan, Question, make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import load_cached, lock_owners


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: the upload's new status, and how many questions it folded from their whole history.

    `plan`: what its attempts became; None where they were in the database already.
    """

    status: uploads.Status
    plan: Plan | None
    late: int = 0


class _Place(NamedTuple):
    """The key of an upload's sessions: the uuid under which they are recorded, and their learner."""

    client_session_uuid: UUID
    user_id: int


@dataclass(frozen=True, slots=True)
class _Planned:
    """An upload, and what becomes of its attempts; `questions`: those that they name, by public id.

    `owner`: of all of these questions, None if not exactly one. `other`: where its sessions may stand, too:
    see `uploads.own_uuid`. `reason`: why it is to be rejected, None if it is not; without an
    owner it always is.
    """

    uuid: UUID
    upload: Upload
    questions: Mapping[str, Question]
    owner: int | None
    other: _Place | None
    plan: Plan
    reason: str | None


def replay(
    connection: Connection, client_session_uuids: Iterable[UUID], *, now: datetime, default_zone: str
) -> dict[UUID, Replayed]:
    """Bring `received` uploads to their final status, with as many statements as for one; leave others as is.

    Return what was done, by upload. Those of one learner follow each other in the order of their arrival.
    Locks are taken in the order uploads by uuid, learners by id, quiz sessions, so that no two replays
    deadlock. Whatever can reject an upload comes before the first write. Where one fails, all do: the caller
    rolls back, and replays each by itself.
    """
    waiting = sorted(uploads.lock(connection, client_session_uuids), key=lambda each: each.received_at)
    if not waiting:
        return {}
    sent = [Upload.model_validate(each.payload) for each in waiting]
    named = [{attempt.pub_id for attempt in upload.attempts} for upload in sent]
    learners = lock_owners(connection, named, default_zone)
    known = attempts.load_questions(connection, set().union(*named))
    planned = []
    for received, upload, pub_ids in zip(waiting, sent, named, strict=True):
        questions = {pub_id: known[pub_id] for pub_id in pub_ids & known.keys()}
        planned.append(_plan(received, upload, questions, learners, default_zone))

    # Its sessions may be there although its row is new: the row was lost and the upload sent again, or the
    # database was restored in part.
    uuids = {each.uuid for each in planned}
    uuids |= {each.other.client_session_uuid for each in planned if each.other}
    there = attempts.sessions_of_uploads(connection, uuids)
    done: list[tuple[uploads.End, Replayed]] = []
    new: dict[_Place, _Planned] = {}
    for each in planned:
        if found := [key for key in there if key[0] == each.uuid or key == each.other]:
            (_, user_id), *_ = found
            sessions = chain.from_iterable(map(there.__getitem__, found))
            result = _result(each, each.plan, sessions, _due(connection, user_id, each.plan))
            end = uploads.End(each.uuid, uploads.Status.INGESTED, now, user_id, result)
            done.append((end, Replayed(uploads.Status.INGESTED, None)))
        elif each.reason or each.owner is None:
            # What is not skipped by now is skipped because of another learner's questions beside it.
            plan = each.plan.rejected(Fate.MIXED_OWNERS)
            result = _result(each, plan, [], {})
            end = uploads.End(each.uuid, uploads.Status.REJECTED, now, each.owner, result, each.reason)
            done.append((end, Replayed(uploads.Status.REJECTED, plan)))
        else:
            new[_Place(each.uuid, each.owner)] = each
    done += _ingest(connection, new, now)
    uploads.close(connection, [end for end, _ in done])
    return {end.client_session_uuid: replayed for end, replayed in done}


def _due(connection: Connection, user_id: int, plan: Plan) -> dict[int, date]:
    """Return the due dates of a plan's questions as they are."""
    reviewed = [attempt.question.id for topic in plan.topics.values() for attempt in topic]
    return {id_: saved.progress.due for id_, saved in load_cached(connection, user_id, reviewed).items()}


def _ingest(
    connection: Connection, new: Mapping[_Place, _Planned], now: datetime
) -> Iterator[tuple[uploads.End, Replayed]]:
    """Insert the sessions of uploads and finalize them."""
    if new.keys() & {each.other for each in new.values()}:
        raise OvertakenError("two uploads of one transaction are of the same session")
    ids = attempts.insert_sessions(connection, {key: each.plan for key, each in new.items()}, now=now)
    of_learner: dict[int, list[int]] = defaultdict(list)
    for (_, user_id), theirs in ids.items():
        of_learner[user_id] += theirs
    finalized = finalize_sessions(connection, of_learner, now=now)
    for place, each in new.items():
        done = [finalized[session] for session in ids[place]]
        due = {question: day for session in done for question, day in session.due.items()}
        result = _result(each, each.plan, [session.snapshot for session in done], due)
        end = uploads.End(each.uuid, uploads.Status.INGESTED, now, place.user_id, result)
        yield end, Replayed(uploads.Status.INGESTED, each.plan, sum(session.late for session in done))


def _plan(
    received: uploads.Waiting,
    upload: Upload,
    questions: Mapping[str, Question],
    learners: Mapping[int, ZoneInfo],
    default_zone: str,
) -> _Planned:
    """Decide what becomes of an upload's attempts, and whether it is rejected."""
    owners = {question.user_id for question in questions.values()}
    # To a sender who is not trusted, nothing tells another learner's questions from unknown ones.
    is_others = received.learner_id is not None and bool(owners - {received.learner_id})
    owner = owners.pop() if len(owners) == 1 else None
    if owner and owner not in learners:
        raise OvertakenError("a question changed its owner during the replay")
    zone = learners[owner] if owner else ZoneInfo(default_zone)
    known = {} if is_others else questions
    plan = make_plan(upload, received.received_at, known, zone, clock_shift=received.clock_shift)
    reason = other = None
    if is_others:
        reason = uploads.OTHER_LEARNER
    elif owner is None:
        reason = "mixed_owners" if questions else "unknown_questions"
    else:
        reason = None if plan.topics else "no_usable_attempt"
        uuid = upload.client_session_uuid
        is_own = uuid != received.client_session_uuid
        other = _Place(uuid if is_own else uploads.own_uuid(uuid, owner), owner)
    return _Planned(received.client_session_uuid, upload, questions, owner, other, plan, reason)


def _result(
    planned: _Planned, plan: Plan, sessions: Iterable[Mapping[str, Any]], due: Mapping[int, date]
) -> dict[str, Any]:
    """Return what became of an upload, as JSON values; `due` maps question ids to their new due dates."""
    return {
        "topics": list(sessions),
        "attempts": [
            {"pub_id": attempt.pub_id}
            | ({"status": "skipped", "reason": fate} if fate in SKIPPED else {"status": fate})
            for attempt, fate in zip(planned.upload.attempts, plan.fates, strict=True)
        ],
        "questions": [
            {"pub_id": pub_id, "due": due[question.id].isoformat()}
            for pub_id, question in sorted(planned.questions.items())
            if question.id in due
        ],
    }
