"""The viewer's door: take an upload in, and tell what became of it."""

from dataclasses import asdict
from time import perf_counter
from uuid import UUID

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from api import schemas
from api.auth import require_token
from api.errors import Kind, Problem
from api.openapi import Body, Operation, described
from api.schemas import AlreadyIngested, Health, Received, Standing
from api.services import services
from shared.metrics import DELIVERIES
from shared.payload import Upload, content_hash, parse_upload
from shared.uploads import Delivery, Receipt, Verdict, find

health = Blueprint("health", __name__)

OK = {"status": "ok"}


@health.get("/livez")
@described(Operation("Tell that the process is alive", {200: Body("It is", Health, OK)}))
def live() -> ResponseReturnValue:
    """Answer; a process that cannot is to be restarted."""
    return OK


@health.get("/readyz")
@described(
    Operation(
        "Tell whether an upload would be accepted",
        {200: Body("It would", Health, OK)},
        problems=(Kind.INGEST_CLOSED, Kind.STORE_UNAVAILABLE),
    )
)
def ready() -> ResponseReturnValue:
    """Look at the flag and ask the stores; a process that is not ready needs no restart."""
    if not services().settings.study_ingest_enabled:
        raise Problem(Kind.INGEST_CLOSED)
    services().uploads.check()
    return OK


log = structlog.get_logger()
blueprint = Blueprint("ingest", __name__, url_prefix="/ingest/study/attempts")


@blueprint.before_request
def admit() -> None:
    """Refuse everybody while the flag is off (I10), then whoever has no token."""
    if not services().settings.study_ingest_enabled:
        raise Problem(Kind.INGEST_CLOSED)
    require_token(services().settings.viewer_tokens)


@blueprint.post("")
@described(
    Operation(
        "Send a finished session; it may be sent again until it is answered",
        request=Body("One finished session: at most 1 MiB and 20,000 values in all", Upload, schemas.UPLOAD),
        answers={
            202: Body("Kept, and worked off soon", Received, schemas.RECEIVED, {"Location": "its address"}),
            200: Body("Worked off before", AlreadyIngested, schemas.ALREADY_INGESTED),
        },
        problems=(
            Kind.NOT_JSON,
            Kind.UNAUTHENTICATED,
            Kind.CONFLICTING_UPLOAD,
            Kind.BODY_TOO_LARGE,
            Kind.UNSUPPORTED_MEDIA_TYPE,
            Kind.INVALID_PAYLOAD,
            Kind.REJECTED_UPLOAD,
            Kind.INGEST_CLOSED,
            Kind.STORE_UNAVAILABLE,
        ),
        security="viewer",
    )
)
def submit() -> ResponseReturnValue:
    """Record an upload, and ring for a new one."""
    start = perf_counter()
    delivery = _read()
    receipt = services().uploads.record(delivery)
    DELIVERIES.labels(receipt.verdict).inc()
    if receipt.verdict is Verdict.NEW:
        services().publisher.enqueue(delivery.client_session_uuid)
    took = round((perf_counter() - start) * 1000, 1)
    log.info("upload.received", upload=str(delivery.client_session_uuid), verdict=receipt.verdict, ms=took)
    return _answer(delivery.client_session_uuid, receipt)


def _read() -> Delivery:
    if request.mimetype != "application/json" or request.content_encoding:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)
    body = request.get_data(cache=False)
    upload = parse_upload(body)
    return Delivery(upload.client_session_uuid, body.decode(), content_hash(upload), services().clock())


def _answer(upload: UUID, receipt: Receipt) -> ResponseReturnValue:
    match receipt.verdict:
        case Verdict.CONFLICT:
            raise Problem(Kind.CONFLICTING_UPLOAD)
        case Verdict.REJECTED:
            fault = {"pointer": "", "detail": f"rejected as {receipt.reason}"}
            raise Problem(Kind.REJECTED_UPLOAD, reason=receipt.reason, errors=[fault])
        case Verdict.INGESTED:
            # As the store has it: to read the result and write it again would cost as much as all the rest.
            told = f'"client_session_uuid":"{upload}","result":{receipt.result}'
            return Response(f'{{"status":"already_ingested",{told}}}', content_type="application/json")
    # Dead too: it is kept, and to send it again would not help it.
    where = f"{request.root_path}{request.path}/{upload}"
    return {"status": "received", "client_session_uuid": upload}, 202, {"Location": where}


@blueprint.get("/<uuid:client_session_uuid>")
@described(
    Operation(
        "Tell where an upload stands, and what became of it",
        answers={200: Body("Where it stands", Standing, schemas.STANDING)},
        problems=(
            Kind.UNAUTHENTICATED,
            Kind.UNKNOWN_UPLOAD,
            Kind.INGEST_CLOSED,
            Kind.STORE_UNAVAILABLE,
        ),
        security="viewer",
    )
)
def show(client_session_uuid: UUID) -> ResponseReturnValue:
    """Look an upload up."""
    found = services().live.run(lambda connection: find(connection, client_session_uuid))
    if found is None:
        raise Problem(Kind.UNKNOWN_UPLOAD)
    return asdict(found)
