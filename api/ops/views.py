"""Find uploads, and look at one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import structlog
from flask import Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine

from api.ops.session import blueprint, ops
from api.services import edge
from shared.broker import SWEEP
from shared.errors import ReplayRefusedError, StoreUnavailableError
from shared.health import Standing, age, standing
from shared.live.forms import BIGINT
from shared.ops.actions import (
    Revival,
    accept_conflict,
    count_purged,
    discard_conflict,
    find_failed,
    list_conflicts,
    open_conflict,
    revive_all,
    revive_one,
)
from shared.ops.dry_run import Rehearsal, rehearse_replay
from shared.ops.reports import Activity, Dossier, Effect, activity, effects, open_dossier
from shared.ops.search import Listed, Place, Search, search
from shared.spool import spooled
from shared.study.voiding import unvoid_upload, void_upload
from shared.uploads import Status

# More are not decided at one sitting; whoever has decided some sees the next.
LIMIT = 100


@blueprint.get("/conflicts")
def conflicts() -> ResponseReturnValue:
    """List conflicts."""
    found = ops().desk.read(partial(list_conflicts, limit=LIMIT))
    return render_template("conflicts.html", found=found, limit=LIMIT)


@blueprint.get("/conflicts/<id:conflict>")
def conflict(conflict: int) -> ResponseReturnValue:
    """Say what accepting and discarding would do, and ask."""
    opened = ops().desk.read(partial(open_conflict, conflict=conflict))
    return render_template("conflict.html", conflict=opened)


@blueprint.post("/conflicts/<id:conflict>/payloads")
def payloads(conflict: int) -> ResponseReturnValue:
    """Show both contents: on request alone, and the log says that it was asked for."""
    opened = ops().desk.read(partial(open_conflict, conflict=conflict))
    log.info("ops.payload_shown", upload=str(opened.client_session_uuid))
    both = {"What came first": _written(opened.first_payload), "What came after it": _written(opened.payload)}
    return render_template("conflict.html", conflict=opened, both=both)


def _written(payload: dict[str, Any] | None) -> str:
    return "purged" if payload is None else json.dumps(payload, indent=2, ensure_ascii=False)


@blueprint.post("/conflicts/<id:conflict>/accept")
def accept(conflict: int) -> ResponseReturnValue:
    """Let what came after take the place of what came first."""
    now, zone = edge().clock(), edge().settings.study_time_zone
    act = partial(accept_conflict, conflict=conflict, now=now, default_zone=zone)
    uuid = ops().desk.act(act)
    log.info("ops.conflict_accepted", upload=str(uuid))
    flash("Accepted: it is replayed soon, and what came first is kept as the conflict.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.post("/conflicts/<id:conflict>/discard")
def discard(conflict: int) -> ResponseReturnValue:
    """Throw away what came after."""
    uuid = ops().desk.act(partial(_discard, conflict))
    log.info("ops.conflict_discarded", upload=str(uuid))
    flash("Discarded: what came first stands.")
    return redirect(url_for(".conflicts"), 303)


def _discard(conflict: int, engine: Engine) -> UUID:
    with engine.begin() as connection:
        uuid = open_conflict(connection, conflict).client_session_uuid
        discard_conflict(connection, conflict)
    return uuid


MINUTE = timedelta(minutes=1)
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
# As many points as a phone can show apart.
DAY_STEP = 30 * MINUTE
# Shorter, a rate would jump about; longer, it would hide a worker that has just died.
RATE_OVER = 5
# The first try is due at once: whatever waits longer has failed, or nobody works.
OVERDUE = MINUTE
# As the alert has it: several sweeps in a row were left out.
SILENT_S = 60
SILENT_SWEEPS = 3


@dataclass(frozen=True, slots=True)
class Now:
    """What the page shows; `hour` and `day` are counts over time, the oldest first.

    `swept`: seconds since the last sweep, None: there was none; `sweep_every`: seconds between two.
    """

    standing: Standing
    swept: float | None
    sweep_every: float
    hour: Sequence[Activity]
    day: Sequence[Activity]

    @property
    def is_swept(self) -> bool:
        """Tell whether somebody rings again for what waits, and empties the spool."""
        return self.swept is not None and self.swept <= max(SILENT_S, SILENT_SWEEPS * self.sweep_every)

    @property
    def ingest_rate(self) -> float:
        """Return the uploads ingested a minute, of late."""
        return sum(each.ingested for each in self.hour[-RATE_OVER:]) / RATE_OVER

    @property
    def failure_rate(self) -> float | None:
        """Return the part of the last hour's endings that are failures; None: nothing ended."""
        failed = sum(each.rejected + each.dead for each in self.hour)
        ended = failed + sum(each.ingested for each in self.hour)
        return failed / ended if ended else None


@blueprint.get("")
@blueprint.get("/")
def now() -> ResponseReturnValue:
    """Show how things stand; to the page itself, only the part that changes."""
    at = edge().clock()
    found, trouble = None, ""
    try:
        found = ops().desk.read(partial(_now_look, at, edge().settings.sweep_every))
    except StoreUnavailableError as error:
        trouble = str(error)
    template = "figures.html" if "HX-Request" in request.headers else "now.html"
    spool = _spool(ops().spool)
    return Response(
        render_template(template, now=found, trouble=trouble, at=at, spool=spool, overdue=OVERDUE)
    )


def _now_look(at: datetime, sweep_every: float, connection: Connection) -> Now:
    return Now(
        standing(connection),
        age(connection, SWEEP),
        sweep_every,
        activity(connection, now=at, steps=HOUR // MINUTE, step=MINUTE),
        activity(connection, now=at, steps=DAY // DAY_STEP, step=DAY_STEP),
    )


def _spool(redis: Redis | None) -> str:
    if redis is None:
        return "none"
    try:
        return str(spooled(redis))
    except RedisError:
        return "no answer"


WANTED_LIMIT = 50
# Words for people, where the validator's would be for programs.
TOLD = {
    "uuid": "This is no uuid; one looks like 6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11.",
    "learner": "A learner's id is a whole number.",
    "status": "There is no such status.",
    "question": "This cannot be the id of a question.",
    "error": "No error can say this.",
    "after": "This is no place in the list; search again.",
}


def _place(value: Any) -> Any:
    return TypeAdapter(tuple[AwareDatetime, UUID]).validate_python(tuple(str(value).split("~")))


# Postgres keeps no NUL: nothing with one can be found.
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class Wanted(BaseModel):
    """The search form's fields; an empty one wants nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    uuid: UUID | None = None
    learner: Annotated[int, Field(ge=0, lt=BIGINT)] | None = None
    question: Words | None = None
    error: Words | None = None
    status: Status | None = None
    after: Annotated[tuple[datetime, UUID], BeforeValidator(_place)] | None = None

    @property
    def everything(self) -> Search:
        """Ask for all that is like this."""
        return Search(self.status, None, self.learner, self.question, self.error, None)

    @property
    def page(self) -> Search:
        """Ask for a page, and one row more, so that a next page is known of."""
        after = Place(*self.after) if self.after else None
        return replace(self.everything, limit=WANTED_LIMIT + 1, after=after)


def given() -> dict[str, Any]:
    """Return the fields that are not empty, as they were typed."""
    return {name: text for name in TOLD if (text := request.values.get(name, "").strip())}


def read_wanted() -> tuple[Wanted, dict[str, str]]:
    """Read the form; where fields are wrong, return what is right, and why the others are not."""
    fields = given()
    try:
        return Wanted.model_validate(fields), {}
    except ValidationError as error:
        wrong = {str(each["loc"][0]): TOLD[str(each["loc"][0])] for each in error.errors(include_input=False)}
        return Wanted.model_validate({name: fields[name] for name in fields if name not in wrong}), wrong


def place_after(listed: Listed) -> str:
    """Write down the place after an upload."""
    return f"{listed.received_at.isoformat()}~{listed.client_session_uuid}"


# As many as are set back well within the desk's deadline.
AT_ONCE = 500


@blueprint.get("/uploads/<uuid:uuid>/replay")
def ask_replay(uuid: UUID) -> ResponseReturnValue:
    """Rehearse the replay, and ask for confirmation."""
    now, zone = edge().clock(), edge().settings.study_time_zone
    rehearsal: Rehearsal | None = None
    refusal = ""
    try:
        act = partial(rehearse_replay, client_session_uuid=uuid, now=now, default_zone=zone)
        rehearsal = ops().desk.act(act)
    except ReplayRefusedError as error:
        refusal = str(error)
    return render_template("replay.html", uuid=uuid, rehearsal=rehearsal, refusal=refusal)


@blueprint.post("/uploads/<uuid:uuid>/replay")
def replay(uuid: UUID) -> ResponseReturnValue:
    """Set the upload back; the sweeper rings for it."""
    revival = ops().desk.act(partial(revive_one, client_session_uuid=uuid))
    log.info("ops.replayed", upload=str(uuid), revival=str(revival))
    flash(f"{revival.capitalize()}." if revival is not Revival.REVIVED else "Set back: it is replayed soon.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/uploads/replay")
def ask_replay_all() -> ResponseReturnValue:
    """Count the failed uploads that a search means, and ask for confirmation."""
    wanted = _failed()
    count, purged = ops().desk.read(partial(_count, wanted.everything))
    fields = given()
    return render_template("replay_all.html", count=count, purged=purged, fields=fields, at_once=AT_ONCE)


def _count(wanted: Search, connection: Connection) -> tuple[int, int]:
    return len(find_failed(connection, wanted)), count_purged(connection, wanted)


@blueprint.post("/uploads/replay")
def replay_all() -> ResponseReturnValue:
    """Set them back, as many as one request may."""
    uuids = ops().desk.act(partial(_revive_some, _failed().everything))
    for uuid in uuids:
        log.info("ops.replayed", upload=str(uuid), revival=str(Revival.REVIVED))
    flash(f"{len(uuids)} uploads set back: they are replayed soon.")
    return redirect(url_for(".uploads", **given()), 303)


def _failed() -> Wanted:
    wanted, wrong = read_wanted()
    if wrong:
        abort(422, " ".join(wrong.values()))
    if wanted.status in {Status.RECEIVED, Status.INGESTED}:
        abort(422, "Only rejected and dead uploads can be replayed.")
    return wanted


def _revive_some(wanted: Search, engine: Engine) -> list[UUID]:
    some = islice(revive_all(engine, wanted), AT_ONCE)
    return [uuid for uuid, revival in some if revival is Revival.REVIVED]


LONGEST_REASON = 500


@blueprint.get("/uploads/<uuid:uuid>/void")
def ask_void(uuid: UUID) -> ResponseReturnValue:
    """Ask for a reason, which is the confirmation too."""
    ops().desk.read(partial(open_dossier, client_session_uuid=uuid))  # or there is no such page
    return render_template("void.html", uuid=uuid, longest=LONGEST_REASON)


@blueprint.post("/uploads/<uuid:uuid>/void")
def void(uuid: UUID) -> ResponseReturnValue:
    """Void."""
    reason = request.form.get("reason", "").strip()
    if not reason or len(reason) > LONGEST_REASON or "\0" in reason:
        wrong = f"Say why, in {LONGEST_REASON} characters at most."
        return render_template(
            "void.html", uuid=uuid, longest=LONGEST_REASON, reason=reason, wrong=wrong
        ), 422
    now, zone = edge().clock(), edge().settings.study_time_zone
    act = partial(void_upload, client_session_uuid=uuid, reason=reason, now=now, default_zone=zone)
    sessions = ops().desk.act(act)
    log.info("ops.voided", upload=str(uuid), sessions=sessions)
    flash(f"{sessions} sessions voided." if sessions else "It was void already.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/uploads/<uuid:uuid>/unvoid")
def ask_unvoid(uuid: UUID) -> ResponseReturnValue:
    """Ask for confirmation."""
    ops().desk.read(partial(open_dossier, client_session_uuid=uuid))  # or there is no such page
    return render_template("unvoid.html", uuid=uuid)


@blueprint.post("/uploads/<uuid:uuid>/unvoid")
def unvoid(uuid: UUID) -> ResponseReturnValue:
    """Unvoid."""
    zone = edge().settings.study_time_zone
    sessions = ops().desk.act(partial(unvoid_upload, client_session_uuid=uuid, default_zone=zone))
    log.info("ops.unvoided", upload=str(uuid), sessions=sessions)
    flash(f"{sessions} sessions are back." if sessions else "It was not void.")
    return redirect(url_for(".upload", uuid=uuid), 303)


log = structlog.get_logger()


@blueprint.get("/uploads")
def uploads() -> ResponseReturnValue:
    """List the uploads that are looked for, a page at a time."""
    wanted, wrong = read_wanted()
    if wanted.uuid and not wrong:
        return redirect(url_for(".upload", uuid=wanted.uuid), 303)
    found = [] if wrong else ops().desk.read(partial(search, wanted=wanted.page))
    fields = given()
    page = render_template(
        "uploads.html",
        found=found[:WANTED_LIMIT],
        fields=fields,
        wrong=wrong,
        statuses=list(Status),
        following=fields | {"after": place_after(found[WANTED_LIMIT - 1])}
        if len(found) > WANTED_LIMIT
        else None,
        narrowed={name: text for name, text in fields.items() if name != "after"},
    )
    return page, 422 if wrong else 200


@blueprint.get("/uploads/<uuid:uuid>")
def upload(uuid: UUID) -> ResponseReturnValue:
    """Show all that is known of an upload but its payload."""
    dossier, done = ops().desk.read(partial(_look, uuid, edge().settings.study_time_zone))
    return render_template("upload.html", upload=dossier, effects=done, due=_due(dossier))


def _look(uuid: UUID, default_zone: str, connection: Connection) -> tuple[Dossier, list[Effect]]:
    return open_dossier(connection, uuid), effects(connection, uuid, default_zone)


def _due(dossier: Dossier) -> dict[str, str]:
    questions = dossier.result["questions"] if dossier.result else []
    return {each["pub_id"]: each["due"] for each in questions}


@blueprint.post("/uploads/<uuid:uuid>/payload")
def payload(uuid: UUID) -> ResponseReturnValue:
    """Show a learner's answers: on request alone, and the log says that it was asked for."""
    dossier = ops().desk.read(partial(open_dossier, client_session_uuid=uuid))
    log.info("ops.payload_shown", upload=str(uuid))
    written = json.dumps(dossier.payload, indent=2, ensure_ascii=False)
    return render_template("payload.html", upload=dossier, payload=written)
