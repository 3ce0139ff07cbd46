"""The viewer's routes, which receive an upload and show its status; and routes for the process' health."""

from time import perf_counter
from typing import Any
from uuid import UUID

import structlog
from flask import Response, g, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from api import schemas
from api.errors import Kind, Problem
from api.openapi import answers, describe_body
from api.services import services
from shared import uploads
from shared.metrics import DELIVERIES
from shared.payload import Upload

log = structlog.get_logger()

upload_routes = APIBlueprint(
    "ingest",
    __name__,
    url_prefix="/ingest/study/attempts",
    abp_tags=[Tag(name="uploads")],
    abp_security=[{"viewer": []}],
)


class UploadPath(BaseModel):
    client_session_uuid: UUID


@upload_routes.before_request
def admit() -> None:
    """Refuse a request if ingest is off, or if `Senders.identify` refuses it; keep the learner in `g`.

    `g.learner_id` is the learner whom the token names, None for a trusted sender.
    """
    if not services().settings.study_ingest_enabled:
        raise Problem(Kind.INGEST_CLOSED)
    g.learner_id = services().senders.identify()


@upload_routes.post(
    "",
    operation_id="receiveUpload",
    openapi_extensions=describe_body(upload_routes, Upload),
    responses=answers(
        {202: schemas.Received, 200: schemas.AlreadyIngested},
        Kind.NOT_JSON,
        Kind.UNAUTHENTICATED,
        Kind.CONFLICTING_UPLOAD,
        Kind.BODY_TOO_LARGE,
        Kind.UNSUPPORTED_MEDIA_TYPE,
        Kind.INVALID_PAYLOAD,
        Kind.REJECTED_UPLOAD,
        Kind.TOO_MANY_REQUESTS,
        Kind.INGEST_CLOSED,
        Kind.STORE_UNAVAILABLE,
    ),
)
def receive_upload() -> Response:
    """Receive a finished session; to send it again is always safe."""
    start = perf_counter()
    delivery = uploads.Delivery.read(schemas.plain_json_body(), learner_id=g.learner_id)
    uuid = g.upload = delivery.client_session_uuid
    receipt = services().uploads.record(delivery)
    DELIVERIES.labels(receipt.verdict).inc()
    if receipt.verdict is uploads.Verdict.NEW:
        services().publisher.enqueue(receipt.recorded_as or uuid)
    took = round((perf_counter() - start) * 1000, 1)
    log.info("upload.received", upload=str(receipt.recorded_as or uuid), verdict=receipt.verdict, ms=took)
    return _answer(uuid, receipt)


def _answer(uuid: UUID, receipt: uploads.Receipt) -> Response:
    # The body is written by hand, in the form of the models Received and AlreadyIngested, and has the stored
    # text of the result. To parse this text and write it again would cost as much as all other work
    # (docs/performance.md, "an ingested upload's result").
    match receipt.verdict:
        case uploads.Verdict.CONFLICT:
            raise Problem(Kind.CONFLICTING_UPLOAD)
        case uploads.Verdict.REJECTED:
            fault = {"pointer": "", "detail": f"rejected with the reason {receipt.reason}"}
            raise Problem(Kind.REJECTED_UPLOAD, reason=receipt.reason, errors=[fault])
        case uploads.Verdict.INGESTED:
            # There is no result any more if the learner was deleted.
            members = f'"client_session_uuid":"{uuid}","result":{receipt.result or "null"}'
            return Response(f'{{"status":"already_ingested",{members}}}', content_type="application/json")
    # New, pending and dead uploads: a dead one is recorded, too, and only an operator can replay it.
    body = f'{{"status":"received","client_session_uuid":"{uuid}"}}'
    location = f"{request.root_path}{request.path}/{uuid}"
    return Response(body, 202, {"Location": location}, content_type="application/json")


@upload_routes.get(
    "/<uuid:client_session_uuid>",
    operation_id="readUploadStatus",
    responses=answers(
        {200: schemas.UploadStatus},
        Kind.UNAUTHENTICATED,
        Kind.UNKNOWN_UPLOAD,
        Kind.TOO_MANY_REQUESTS,
        Kind.INGEST_CLOSED,
        Kind.STORE_UNAVAILABLE,
    ),
)
def read_upload_status(path: UploadPath) -> dict[str, Any]:
    """Show an upload's status and, after its replay, its result; a learner sees only their own uploads."""
    uuid, learner_id = path.client_session_uuid, g.learner_id
    found = services().live.run(lambda connection: uploads.find(connection, uuid, learner_id))
    if found is None:
        raise Problem(Kind.UNKNOWN_UPLOAD)
    # Unset fields are left out, as in the stored result: only skipped attempts have a reason.
    return schemas.UploadStatus.model_validate(found._asdict()).model_dump(mode="json", exclude_unset=True)


# These routes need no token. While ingest is off, `/livez` answers 200 and `/readyz` 503.
health_routes = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])


@health_routes.get("/livez", operation_id="checkAlive", responses=answers({200: schemas.Health}))
def check_alive() -> dict[str, Any]:
    """Answer that the process is alive; a process that does not answer has to be restarted."""
    return schemas.Health(status="ok").model_dump(mode="json")


@health_routes.get(
    "/readyz",
    operation_id="checkReady",
    responses=answers({200: schemas.Health}, Kind.INGEST_CLOSED, Kind.STORE_UNAVAILABLE),
)
def check_ready() -> dict[str, Any]:
    """Answer whether an upload would be received; a process that is not ready needs no restart."""
    if not services().settings.study_ingest_enabled:
        raise Problem(Kind.INGEST_CLOSED)
    services().uploads.check()
    return schemas.Health(status="ok").model_dump(mode="json")
