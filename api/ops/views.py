"""The pages of operators: the state of the system, uploads, and conflicts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import pydantic
import structlog
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy import Connection

from api.ops.session import services, write
from shared import db, health
from shared.errors import ReplayRefusedError, StoreUnavailableError
from shared.live.forms import BIGINT
from shared.ops import actions, reports
from shared.ops.dry_run import DryRun, dry_run_replay
from shared.ops.search import Position, Search, search
from shared.spool import can_write, spooled
from shared.uploads import Status

log = structlog.get_logger()
blueprint = Blueprint("views", __name__)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# With this step, a day has as many points as a phone can show.
DAY_STEP = 30 * MINUTE
# Over a shorter time, the rate varies too much; over a longer time, the rate hides that a worker has just
# died.
RATE_MINUTES = 5

UPLOADS_PER_PAGE = 50
CONFLICTS_PER_PAGE = 100
# As many uploads as can be set back well within the store's deadline.
REPLAYS_AT_ONCE = 500
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Now:
    """The state of the system; `hour` and `day` are counts over time, the oldest first."""

    state: health.SystemState
    problems: frozenset[health.Problem]
    hour: Sequence[reports.Activity]
    day: Sequence[reports.Activity]

    @property
    def ingest_rate(self) -> float:
        """Return the uploads ingested per minute, over the last RATE_MINUTES minutes."""
        return sum(each.ingested for each in self.hour[-RATE_MINUTES:]) / RATE_MINUTES

    @property
    def failure_rate(self) -> float | None:
        """Return the share of failures among uploads that ended in the last hour; None if no upload ended."""
        failed = sum(each.rejected + each.dead for each in self.hour)
        finished = failed + sum(each.ingested for each in self.hour)
        return failed / finished if finished else None


@blueprint.get("/")
def now() -> ResponseReturnValue:
    """Show the state of the system; an open page (htmx) gets only the part that changes."""
    at, settings = services().clock(), services().settings

    def read(connection: Connection) -> Now:
        state, now = health.read_state(connection), db.now(connection)
        return Now(
            state,
            health.problems(state, settings),
            reports.activity(connection, now=now, steps=HOUR // MINUTE, step=MINUTE),
            reports.activity(connection, now=now, steps=DAY // DAY_STEP, step=DAY_STEP),
        )

    found, trouble = None, ""
    try:
        found = services().store.read(read)
    except StoreUnavailableError as error:
        trouble = str(error)
    template = "figures.html" if "HX-Request" in request.headers else "now.html"
    return render_template(
        template, now=found, trouble=trouble, at=at, spool=_spool(), full=health.full_disks()
    )


def _spool() -> str:
    spool = services().spool
    if spool is None:
        return "none"
    try:
        waiting = str(spooled(spool))
        return waiting if can_write(spool.info("persistence")) else f"{waiting}, Redis cannot write its files"
    except RedisError:
        return "no answer"


# Messages for people; those of the validator are for programs.
MESSAGES = {
    "uuid": "This is not a uuid; a uuid looks like 6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11.",
    "learner": "This is not a learner's id; an id is a whole number.",
    "status": "There is no such status.",
    "question": "A question's public id has at most 200 characters, and no NUL.",
    "error": "Search for at most 200 characters of an error, without NUL.",
    "after": "This page of the list does not exist; search again.",
}


# Postgres cannot store NUL, so nothing with NUL can be found.
SearchText = Annotated[str, pydantic.Field(max_length=200, pattern=r"^[^\x00]*$")]

# The time and the uuid of the last upload of a page, joined by `~`.
LastOfPage = Annotated[
    tuple[pydantic.AwareDatetime, UUID], pydantic.BeforeValidator(lambda text: tuple(text.split("~")))
]


class SearchForm(pydantic.BaseModel):
    """The fields of the search form; an empty field does not narrow the search."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    uuid: UUID | None = None
    learner: Annotated[int, pydantic.Field(ge=0, lt=BIGINT)] | None = None
    question: SearchText | None = None
    error: SearchText | None = None
    status: Status | None = None
    after: LastOfPage | None = None

    @property
    def search(self) -> Search:
        """Return the search that this form describes; the form's `uuid` and `after` are left out."""
        return Search(self.status, None, self.learner, self.question, self.error, None)


def _typed() -> dict[str, Any]:
    """Return the fields of the form that are not empty, as typed, but without spaces around them."""
    return {name: text for name in MESSAGES if (text := request.values.get(name, "").strip())}


def _read_form() -> tuple[SearchForm, dict[str, str]]:
    """Read the form; return its valid fields, and a message for each invalid one."""
    typed = _typed()
    try:
        return SearchForm.model_validate(typed), {}
    except pydantic.ValidationError as error:
        names = {str(each["loc"][0]) for each in error.errors(include_input=False)}
        form = SearchForm.model_validate({name: text for name, text in typed.items() if name not in names})
        return form, {name: MESSAGES[name] for name in names}


@blueprint.get("/uploads")
def uploads() -> ResponseReturnValue:
    """List the uploads that match the form, a page at a time; for a uuid, redirect to that upload."""
    form, wrong = _read_form()
    if form.uuid and not wrong:
        return redirect(url_for(".upload", uuid=form.uuid), 303)
    # One row more than the page shows: if this row exists, there is a next page.
    after = Position(*form.after) if form.after else None
    page = replace(form.search, limit=UPLOADS_PER_PAGE + 1, after=after)
    found = [] if wrong else services().store.read(partial(search, wanted=page))
    typed, following = _typed(), None
    if len(found) > UPLOADS_PER_PAGE:
        last = found[UPLOADS_PER_PAGE - 1]
        following = typed | {"after": f"{last.received_at.isoformat()}~{last.client_session_uuid}"}
    return render_template(
        "uploads.html",
        found=found[:UPLOADS_PER_PAGE],
        fields=typed,
        wrong=wrong,
        statuses=list(Status),
        following=following,
        narrowed={name: text for name, text in typed.items() if name != "after"},
    ), 422 if wrong else 200


@blueprint.get("/uploads/<uuid:uuid>")
def upload(uuid: UUID) -> ResponseReturnValue:
    """Show all that is known of an upload, except its payload."""
    report, done = services().store.read(
        lambda connection: (reports.report_upload(connection, uuid), reports.effects(connection, uuid))
    )
    questions = report.result["questions"] if report.result else []
    due = {each["pub_id"]: each["due"] for each in questions}
    return render_template("upload.html", upload=report, effects=done, due=due)


@blueprint.post("/uploads/<uuid:uuid>/payload")
def payload(uuid: UUID) -> ResponseReturnValue:
    """Show an upload's payload, which has a learner's answers; the log records the request."""
    report = services().store.read(partial(reports.report_upload, client_session_uuid=uuid))
    log.info("ops.payload_shown", upload=str(uuid))
    return render_template("payload.html", upload=report, payload=_as_text(report.payload))


def _as_text(payload: dict[str, Any] | None) -> str:
    return "purged" if payload is None else json.dumps(payload, indent=2, ensure_ascii=False)


@blueprint.get("/uploads/<uuid:uuid>/replay")
def ask_replay(uuid: UUID) -> ResponseReturnValue:
    """Show a dry run of the replay, and ask for confirmation."""
    return _dry_run(uuid, "replay.html")


def _dry_run(uuid: UUID, template: str, *, shift: str = "") -> ResponseReturnValue:
    dry_run: DryRun | None = None
    refusal = ""
    clock_shift, zone = _read_shift(shift) if shift else None, services().settings.study_time_zone

    def act(connection: Connection) -> DryRun:
        return dry_run_replay(
            connection, uuid, now=db.now(connection), default_zone=zone, clock_shift=clock_shift
        )

    try:
        dry_run = services().store.read(act)
    except ReplayRefusedError as error:
        refusal = str(error)
    return render_template(template, uuid=uuid, dry_run=dry_run, refusal=refusal, shift=shift)


@blueprint.post("/uploads/<uuid:uuid>/replay")
def replay(uuid: UUID) -> ResponseReturnValue:
    """Set the upload back if it is rejected or dead; the sweeper then enqueues it."""
    done = write(partial(actions.set_back, client_session_uuid=uuid))
    log.info("ops.replay_requested", upload=str(uuid), result=str(done))
    flash(
        "The upload is set back, and is replayed soon."
        if done is actions.RequestResult.SET_BACK
        else f"The upload is {done}."
    )
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/uploads/<uuid:uuid>/clock")
def ask_shift(uuid: UUID) -> ResponseReturnValue:
    """Ask how far the clock was wrong; then show a dry run with that shift, and ask for confirmation."""
    typed = request.args.get("shift", "").strip()
    if not typed:
        services().store.read(partial(reports.report_upload, client_session_uuid=uuid))  # 404 where unknown
        return render_template("clock.html", uuid=uuid, shift="")
    return _dry_run(uuid, "clock.html", shift=typed)


@blueprint.post("/uploads/<uuid:uuid>/clock")
def shift_clock(uuid: UUID) -> ResponseReturnValue:
    """Shift an upload's times; replay it at once if it is ingested, set it back if it is rejected or dead.

    A waiting upload stays `received`; its replay uses the shift.
    """
    shift, zone = _read_shift(request.form.get("shift", "")), services().settings.study_time_zone
    done = write(
        lambda connection: actions.shift_clock(
            connection, uuid, shift, now=db.now(connection), default_zone=zone
        )
    )
    log.info("ops.clock_shifted", upload=str(uuid), shift_seconds=shift.total_seconds(), result=str(done))
    flash(f"The times of the upload are shifted; the upload is {done}.")
    return redirect(url_for(".upload", uuid=uuid), 303)


def _read_shift(typed: str) -> timedelta:
    try:
        return actions.read_shift(typed.strip())
    except ValueError:
        abort(422, "A shift is written like +6y12d (the clock was behind) or -3h30m (the clock was ahead).")


@blueprint.get("/uploads/replay")
def ask_replay_all() -> ResponseReturnValue:
    """Count the failed uploads that match the form, and ask for confirmation."""
    wanted = _failed()
    count, purged = services().store.read(
        lambda connection: (
            len(actions.find_failed(connection, wanted)),
            actions.count_purged(connection, wanted),
        )
    )
    return render_template(
        "replay_all.html", count=count, purged=purged, fields=_typed(), at_once=REPLAYS_AT_ONCE
    )


@blueprint.post("/uploads/replay")
def replay_all() -> ResponseReturnValue:
    """Set back the oldest failed uploads that match the form, at most REPLAYS_AT_ONCE."""
    wanted = _failed()

    def act(connection: Connection) -> list[UUID]:
        # Uploads are recorded in the order of their uuids. They are set back in the same order, so that a
        # recording and this transaction do not deadlock.
        some = sorted(actions.find_failed(connection, wanted)[:REPLAYS_AT_ONCE])
        return [uuid for uuid in some if actions.set_back(connection, uuid) is actions.RequestResult.SET_BACK]

    uuids = write(act)
    for uuid in uuids:
        log.info("ops.replay_requested", upload=str(uuid), result=str(actions.RequestResult.SET_BACK))
    flash(f"{len(uuids)} uploads are set back, and are replayed soon.")
    return redirect(url_for(".uploads", **_typed()), 303)


def _failed() -> Search:
    form, wrong = _read_form()
    if wrong:
        abort(422, " ".join(wrong.values()))
    if form.status in {Status.RECEIVED, Status.INGESTED}:
        abort(
            422, "Only rejected and dead uploads can be replayed here: choose one of these statuses, or any."
        )
    return form.search


@blueprint.get("/uploads/<uuid:uuid>/void")
def ask_void(uuid: UUID) -> ResponseReturnValue:
    """Ask for a reason; to send the form with a reason is the confirmation."""
    services().store.read(partial(reports.report_upload, client_session_uuid=uuid))  # 404 where it is unknown
    return render_template("void.html", uuid=uuid, longest=LONGEST_REASON)


@blueprint.post("/uploads/<uuid:uuid>/void")
def void(uuid: UUID) -> ResponseReturnValue:
    """Void the upload's sessions."""
    reason = request.form.get("reason", "").strip()
    if not reason or len(reason) > LONGEST_REASON or "\0" in reason:
        wrong = f"A reason of 1 to {LONGEST_REASON} characters is required."
        page = render_template("void.html", uuid=uuid, longest=LONGEST_REASON, reason=reason, wrong=wrong)
        return page, 422
    count = write(partial(actions.void_upload, client_session_uuid=uuid, reason=reason))
    if count:
        log.info("ops.voided", upload=str(uuid), sessions=count)
    flash(f"{count} sessions voided." if count else "The upload was voided already.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/uploads/<uuid:uuid>/unvoid")
def ask_unvoid(uuid: UUID) -> ResponseReturnValue:
    """Ask for confirmation to bring the upload's voided sessions back."""
    services().store.read(partial(reports.report_upload, client_session_uuid=uuid))  # 404 where it is unknown
    return render_template("unvoid.html", uuid=uuid)


@blueprint.post("/uploads/<uuid:uuid>/unvoid")
def unvoid(uuid: UUID) -> ResponseReturnValue:
    """Bring the upload's voided sessions back."""
    count = write(partial(actions.unvoid_upload, client_session_uuid=uuid))
    if count:
        log.info("ops.unvoided", upload=str(uuid), sessions=count)
    flash(f"{count} sessions are back." if count else "The upload was not voided.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/conflicts")
def conflicts() -> ResponseReturnValue:
    """List conflicts, the newest first, at most CONFLICTS_PER_PAGE."""
    found = services().store.read(partial(actions.list_conflicts, limit=CONFLICTS_PER_PAGE))
    return render_template("conflicts.html", found=found, limit=CONFLICTS_PER_PAGE)


@blueprint.get("/conflicts/<id:conflict>")
def conflict(conflict: int) -> ResponseReturnValue:
    """Explain what accepting and discarding a conflict would do, and ask for a decision."""
    opened = services().store.read(partial(actions.find_conflict, conflict=conflict))
    return render_template("conflict.html", conflict=opened)


@blueprint.post("/conflicts/<id:conflict>/payloads")
def payloads(conflict: int) -> ResponseReturnValue:
    """Show both contents of a conflict; if at least one content is stored, the log records the request."""
    opened = services().store.read(partial(actions.find_conflict, conflict=conflict))
    if opened.present_payload is not None or opened.payload is not None:
        log.info("ops.payload_shown", upload=str(opened.client_session_uuid))
    both = {
        "Present content": _as_text(opened.present_payload),
        "Other content": _as_text(opened.payload),
    }
    return render_template("conflict.html", conflict=opened, both=both)


@blueprint.post("/conflicts/<id:conflict>/accept")
def accept(conflict: int) -> ResponseReturnValue:
    """Replace the upload's content by the other content; keep the former content as a conflict."""
    uuid = write(partial(actions.accept_conflict, conflict=conflict))
    log.info("ops.conflict_accepted", upload=str(uuid))
    flash("Accepted: the other content is replayed soon; the former content is kept as a conflict.")
    return redirect(url_for(".upload", uuid=uuid), 303)


@blueprint.get("/conflicts/<id:conflict>/discard")
def ask_discard(conflict: int) -> ResponseReturnValue:
    """Ask for confirmation: discarded content is lost."""
    opened = services().store.read(partial(actions.find_conflict, conflict=conflict))
    return render_template("discard.html", conflict=opened)


@blueprint.post("/conflicts/<id:conflict>/discard")
def discard(conflict: int) -> ResponseReturnValue:
    """Delete the other content of a conflict; the upload keeps its present content."""
    uuid = write(partial(actions.discard_conflict, conflict=conflict))
    log.info("ops.conflict_discarded", upload=str(uuid))
    flash("Discarded: the upload keeps its present content.")
    return redirect(url_for(".conflicts"), 303)
