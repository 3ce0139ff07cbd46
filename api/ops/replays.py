"""Replay what has failed: one upload, after a look at what it would do, or all that a search means."""

from functools import partial
from itertools import islice
from uuid import UUID

import structlog
from flask import abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, Engine

from api.edge import edge
from api.ops.door import blueprint, ops
from api.ops.wanted import Wanted, given, read_wanted
from shared.errors import ReplayRefusedError
from shared.ops.actions import Revival, count_purged, find_failed, revive_all, revive_one
from shared.ops.dry_run import Rehearsal, rehearse_replay
from shared.ops.search import Search
from shared.uploads import Status

log = structlog.get_logger()

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
