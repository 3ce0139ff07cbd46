"""Whether a web process is alive, and whether it can take an upload."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from api.answers import Health
from api.edge import edge
from api.operation import Body, Operation, described
from api.problem_kinds import Kind
from api.problems import Problem

blueprint = Blueprint("health", __name__)

OK = {"status": "ok"}


@blueprint.get("/livez")
@described(Operation("Tell that the process is alive", {200: Body("It is", Health, OK)}))
def live() -> ResponseReturnValue:
    """Answer; a process that cannot is to be restarted."""
    return OK


@blueprint.get("/readyz")
@described(
    Operation(
        "Tell whether an upload would be accepted",
        {200: Body("It would", Health, OK)},
        problems=(Kind.INGEST_CLOSED, Kind.STORE_UNAVAILABLE),
    )
)
def ready() -> ResponseReturnValue:
    """Look at the flag and ask the stores; a process that is not ready needs no restart."""
    if not edge().settings.study_ingest_enabled:
        raise Problem(Kind.INGEST_CLOSED)
    edge().intake.check()
    return OK
