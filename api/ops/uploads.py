"""Find uploads, and look at one."""

import json
from functools import partial
from uuid import UUID

import structlog
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection

from api.edge import edge
from api.ops.door import blueprint, ops
from api.ops.wanted import LIMIT, given, place_after, read_wanted
from shared.ops.reports import Dossier, Effect, effects, open_dossier
from shared.ops.search import search
from shared.uploads import Status

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
        found=found[:LIMIT],
        fields=fields,
        wrong=wrong,
        statuses=list(Status),
        following=fields | {"after": place_after(found[LIMIT - 1])} if len(found) > LIMIT else None,
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
