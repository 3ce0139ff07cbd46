"""Decide between what came first under a uuid and what came after it."""

import json
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import Engine

from api.edge import edge
from api.ops.door import blueprint, ops
from shared.ops.actions import accept_conflict, discard_conflict, list_conflicts, open_conflict

log = structlog.get_logger()

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
