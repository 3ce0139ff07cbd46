"""Take an upload's sessions out of the learner's progress, and back in."""

from functools import partial
from uuid import UUID

import structlog
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from api.edge import edge
from api.ops.door import blueprint, ops
from shared.ops.reports import open_dossier
from shared.study.voiding import unvoid_upload, void_upload

log = structlog.get_logger()

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
