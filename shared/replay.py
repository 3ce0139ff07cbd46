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

from shared import attempts, uploads, zones
from shared.errors import OvertakenError
from shared.payload import Upload
from shared.plan import SKIPPED, Dates, Fate, Plan, Question, make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import load_cached, lock_owners


@dataclass(frozen=True, slots=True)
class Replayed:
    """An upload's new status, and how many of its questions the replay folded from their whole history.

    `plan`: what became of the upload's attempts; None if its sessions were in the database already.
    `reason`: why it is rejected.
    """

    status: uploads.Status
    plan: Plan | None
    late_folds: int = 0
    reason: str | None = None


class _Identity(NamedTuple):
    """What identifies an upload's sessions: the uuid under which they are recorded, and their learner."""

    client_session_uuid: UUID
    user_id: int


@dataclass(frozen=True, slots=True)
class _Planned:
    """An upload, and what becomes of its attempts.

    `questions`: the known questions that the attempts name, by public id. `owner`: the learner to whom all of
    these questions belong; None if there are several such learners, if no question is known, or if the
    sender's token names another learner. `other_identity`: the learner, and the other uuid under which the
    same sessions may be recorded (`uploads.second_uuid`). `reason`: why the upload is to be rejected, or
    None; an upload without an owner always has a reason.
    """

    uuid: UUID
    upload: Upload
    questions: Mapping[str, Question]
    owner: int | None
    other_identity: _Identity | None
    plan: Plan
    reason: str | None


def replay(
    connection: Connection,
    client_session_uuids: Iterable[UUID],
    *,
    now: datetime,
    default_zone: str,
    dates: Dates | None = None,
) -> dict[UUID, Replayed]:
    """Bring uploads that are `received` to their final status; leave uploads of any other status unchanged.

    Return, for each upload, what was done. The uploads of one learner are replayed in the order of arrival.
    Several uploads need no more statements than one upload, except for late reviews, for uploads that were
    replayed before, and for the learners' locks where the catalog is a document server's. Locks are always
    taken in this order, so that no two replays deadlock: uploads by uuid, learners by id, quiz sessions. All
    checks that can reject an upload come before the first write. If one upload fails, all fail: the caller
    rolls back, and replays each upload by itself. `dates`: the study dates that the attempts keep; only for a
    single upload that is replayed again.
    """
    waiting = sorted(uploads.lock(connection, client_session_uuids), key=lambda each: each.received_at)
    if not waiting:
        return {}
    payloads = [Upload.model_validate(each.payload) for each in waiting]
    pub_ids = [{attempt.pub_id for attempt in upload.attempts} for upload in payloads]
    learners = lock_owners(connection, pub_ids, default_zone)
    known = attempts.load_questions(connection, set().union(*pub_ids))
    planned = []
    for received, upload, named in zip(waiting, payloads, pub_ids, strict=True):
        questions = {pub_id: known[pub_id] for pub_id in named & known.keys()}
        planned.append(_plan(received, upload, questions, learners, default_zone, dates))

    # An upload's sessions may exist before its replay: if its row was lost and the upload was sent again, if
    # the database was restored in part, or if the same session was also uploaded under the other uuid.
    uuids = {each.uuid for each in planned}
    uuids |= {each.other_identity.client_session_uuid for each in planned if each.other_identity}
    existing = attempts.sessions_of_uploads(connection, uuids)
    done: list[tuple[uploads.End, Replayed]] = []
    new: dict[_Identity, _Planned] = {}
    for each in planned:
        if found := [pair for pair in existing if pair[0] == each.uuid or pair == each.other_identity]:
            (_, user_id), *_ = found
            sessions = chain.from_iterable(existing[pair] for pair in found)
            reviewed = [attempt.question.id for topic in each.plan.topics.values() for attempt in topic]
            cached = load_cached(connection, user_id, reviewed)
            due = {question: saved.progress.due for question, saved in cached.items()}
            result = _result(each, each.plan, sessions, due)
            end = uploads.End(each.uuid, uploads.Status.INGESTED, now, user_id, result)
            done.append((end, Replayed(uploads.Status.INGESTED, None)))
        elif each.reason or each.owner is None:
            # With mixed owners or an unknown learner, some attempts may be usable: these are skipped, too.
            plan = each.plan.rejected(Fate.MIXED_OWNERS if each.owner is None else Fate.UNKNOWN_LEARNER)
            result = _result(each, plan, [], {})
            end = uploads.End(each.uuid, uploads.Status.REJECTED, now, each.owner, result, each.reason)
            done.append((end, Replayed(uploads.Status.REJECTED, plan, reason=each.reason)))
        else:
            new[_Identity(each.uuid, each.owner)] = each
    done += _ingest(connection, new, now)
    uploads.close(connection, [end for end, _ in done])
    return {end.client_session_uuid: replayed for end, replayed in done}


def _ingest(
    connection: Connection, new: Mapping[_Identity, _Planned], now: datetime
) -> Iterator[tuple[uploads.End, Replayed]]:
    """Insert and finalize the sessions of uploads; yield how the replay of each upload ended."""
    if new.keys() & {each.other_identity for each in new.values()}:
        raise OvertakenError("two uploads in this transaction contain the same session")
    ids = attempts.insert_sessions(connection, {key: each.plan for key, each in new.items()}, now=now)
    of_learner: dict[int, list[int]] = defaultdict(list)
    for (_, user_id), sessions in ids.items():
        of_learner[user_id] += sessions
    finalized = finalize_sessions(connection, of_learner, now=now)
    for key, each in new.items():
        done = [finalized[session] for session in ids[key]]
        due = {question: day for session in done for question, day in session.due.items()}
        result = _result(each, each.plan, [session.snapshot for session in done], due)
        end = uploads.End(each.uuid, uploads.Status.INGESTED, now, key.user_id, result)
        yield end, Replayed(uploads.Status.INGESTED, each.plan, sum(session.late_folds for session in done))


def _plan(  # noqa: PLR0913, PLR0917  # all that decides
    received: uploads.Locked,
    upload: Upload,
    questions: Mapping[str, Question],
    learners: Mapping[int, ZoneInfo | None],
    default_zone: str,
    dates: Dates | None,
) -> _Planned:
    """Decide what becomes of an upload's attempts, and whether it is rejected."""
    owners = {question.user_id for question in questions.values()}
    # A learner must not find out whether a question is unknown or belongs to another learner.
    names_others = received.learner_id is not None and bool(owners - {received.learner_id})
    owner = owners.pop() if len(owners) == 1 else None
    if owner is not None and owner not in learners:
        raise OvertakenError("the owner of a question changed during the replay")
    zone = None if owner is None else learners[owner]
    known = {} if names_others else questions
    plan = make_plan(
        upload,
        received.received_at,
        known,
        zone or zones.first_known(default_zone),
        clock_shift=received.clock_shift,
        dates=dates,
    )
    reason = other_identity = None
    if names_others:
        reason, owner = uploads.OTHER_LEARNER, None
    elif owner is None:
        reason = "mixed_owners" if questions else "unknown_questions"
    elif zone is None:
        reason = Fate.UNKNOWN_LEARNER
    else:
        reason = None if plan.topics else "no_usable_attempt"
        uuid = upload.client_session_uuid
        has_second_uuid = uuid != received.client_session_uuid
        other_identity = _Identity(uuid if has_second_uuid else uploads.second_uuid(uuid, owner), owner)
    return _Planned(received.client_session_uuid, upload, questions, owner, other_identity, plan, reason)


def _result(
    planned: _Planned, plan: Plan, sessions: Iterable[Mapping[str, Any]], due: Mapping[int, date]
) -> dict[str, Any]:
    """Return what became of an upload, as JSON values; `due` maps question ids to their due dates."""
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
