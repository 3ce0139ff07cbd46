"""Routes that keep our catalog equal to the catalog of a document server with a separate database.

They also export and delete learners.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, TypeVar

import structlog
from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from api import live, schemas
from api.auth import require_token
from api.errors import Kind, Problem, refuse_invalid
from api.openapi import answers, describe_body
from api.services import services
from shared import catalog_admin, catalog_digest, catalog_form, catalog_sync
from shared.errors import CatalogError
from shared.learners import delete_learner, export_learner

log = structlog.get_logger()

blueprint = APIBlueprint(
    "catalog", __name__, url_prefix="/catalog", abp_tags=[Tag(name="catalog")], abp_security=[{"catalog": []}]
)

COMMON = (Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.CATALOG_CLOSED, Kind.STORE_UNAVAILABLE)
OF_BODY = (Kind.BODY_TOO_LARGE, Kind.UNSUPPORTED_MEDIA_TYPE)
MAX_TOPICS = 1000
NDJSON = "application/x-ndjson"
T = TypeVar("T")


class LoadQuery(BaseModel):
    """Options of a load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    force: bool = Field(
        default=False,
        description="also change answered editions: keys (answers are graded again), texts, owners",
    )
    keep: bool = Field(
        default=False,
        description="keep the stored `exam_on`, `exam_frequency` and `published_at` where a row has none,"
        " instead of deleting them",
    )
    dry_run: bool = Field(default=False, description="only show what would change in stored editions")


class DigestQuery(BaseModel):
    """Which topics to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: live.Id = Field(0, description="id of the last topic of the previous page")
    limit: int = Field(MAX_TOPICS, ge=1, le=MAX_TOPICS, description="largest number of topics in a page")


class CatalogPath(BaseModel):
    """The id of a topic, question or learner."""

    id: live.Id


class Precondition(BaseModel):
    """The digests of the request's topics, as they were when the sender computed the change."""

    if_match: str | None = Field(
        None,
        alias="If-Match",
        description='the digest of each topic concerned, as `"…"`; for a topic that does not exist, `"new"`',
    )


@blueprint.before_request
def admit() -> None:
    """Refuse requests without a token of CATALOG_TOKEN, and all requests while CATALOG_TOKEN is unset."""
    require_token(services().settings.catalog_tokens, Kind.CATALOG_CLOSED)


@blueprint.put(
    "",
    operation_id="loadCatalog",
    openapi_extensions=describe_body(blueprint, catalog_form.CatalogFile),
    responses=answers(
        {200: schemas.LoadedCatalog},
        *COMMON,
        *OF_BODY,
        Kind.TOPIC_CHANGED,
        Kind.INVALID_CATALOG,
        Kind.HOST_CATALOG,
    ),
)
def load_catalog(header: Precondition, query: LoadQuery) -> dict[str, Any]:
    """Load learners, topics and questions; rows that the body does not name stay as they are.

    If the body has a mistake, all of it is refused and nothing is written. Otherwise the rows that are new or
    differ are written in parts of at most 500 learners, topics or questions, each part in a transaction of
    its own; sending the same body again changes nothing. After a 503, some parts may be written: send the
    body again, with the topics' present digests if you use `If-Match`. If the stored catalog changes during
    the load, or a learner answers an edition, a 412 or a 422 may also come after the first parts are written.
    """
    body = schemas.plain_json_body()
    catalog = None
    try:
        catalog = catalog_form.read_catalog(body)
        changes, digests = _load(catalog, query, _expected(header))
    except CatalogError as error:
        faults = [_fault(line, catalog) for line in str(error).splitlines()]
        raise Problem(Kind.INVALID_CATALOG, errors=faults) from None
    learners, topics, questions = len(catalog.users), len(catalog.topics), len(catalog.questions)
    editions = sum(len(question.editions) for question in catalog.questions)
    if not query.dry_run:
        log.info(
            "catalog.loaded",
            learners=learners,
            topics=topics,
            questions=questions,
            editions=editions,
            changed_editions=len(changes),
        )
    loaded = {
        "learners": learners,
        "topics": topics,
        "questions": questions,
        "editions": editions,
        "changes": [each._asdict() for each in changes],
        "digests": [each._asdict() for each in digests],
    }
    return schemas.LoadedCatalog.model_validate(loaded).model_dump(mode="json")


def _load(
    catalog: catalog_form.CatalogFile, query: LoadQuery, expected: frozenset[str] | None
) -> tuple[list[catalog_form.EditionChange], list[catalog_digest.Digest]]:
    run = services().catalog.run
    topics = {topic.id for topic in catalog.topics} | {each.study_topic_id for each in catalog.questions}
    if query.dry_run:  # in the order of a load, so that both would be refused for the same reason
        changed = run(lambda connection: catalog_admin.compare(connection, catalog))
        return run(_guarded(lambda _: topics, expected, lambda _: changed))
    force, kept = query.force, catalog_form.NOT_IN_TABLES if query.keep else ()
    load = partial(catalog_admin.load_catalog, force=force, keep=kept)
    parts = run(lambda connection: catalog_admin.split(connection, catalog, force=force, keep=kept))
    changes: list[catalog_form.EditionChange] = []
    digests: list[catalog_digest.Digest] = []
    for part in parts or [catalog_form.CatalogFile()]:
        changed, digests = run(_guarded(lambda _: topics, expected, partial(load, catalog=part)))
        changes += changed
        if expected is not None:  # the next part must find the digests that this part has left
            new = {catalog_digest.NEW} if len(digests) < len(topics) else set()
            expected = frozenset({each.digest for each in digests} | new)
    return changes, digests


def _expected(header: Precondition) -> frozenset[str] | None:
    """Return the digests that `If-Match` names, or None if that header is missing."""
    return None if header.if_match is None else frozenset(request.if_match.as_set())


def _guarded(
    topics: Callable[[Connection], Collection[int]],
    expected: frozenset[str] | None,
    work: Callable[[Connection], T],
) -> Callable[[Connection], tuple[T, list[catalog_digest.Digest]]]:
    """Make a function that does `work` if the topics have the expected digests.

    The function returns (result of `work`, new digests), or raises ChangedTopicError. If `expected` is None,
    the function compares no digests, and the list of new digests is empty.
    """
    now = services().now

    def run(connection: Connection) -> tuple[T, list[catalog_digest.Digest]]:
        if expected is None:
            return work(connection), []
        concerned, at = topics(connection), now(connection)
        catalog_sync.expect(connection, concerned, expected, now=at)
        done = work(connection)
        return done, catalog_sync.digests_of(connection, concerned, now=at)

    return run


def _fault(line: str, catalog: catalog_form.CatalogFile | None) -> dict[str, str]:
    """Convert a line of a CatalogError to a fault that points at the part of the body with the mistake.

    If that part is not found, the fault points at the whole body.
    """
    subject, _, detail = line.partition(": ")
    if subject.startswith("/"):
        return {"pointer": subject, "detail": detail}
    if catalog is None:
        return {"pointer": "", "detail": line}
    pointers = {f"learner {each.id}": f"/users/{n}" for n, each in enumerate(catalog.users)}
    pointers |= {f"topic {each.id}": f"/topics/{n}" for n, each in enumerate(catalog.topics)}
    for n, question in enumerate(catalog.questions):
        pointers[f"question {question.id}"] = f"/questions/{n}"
        pointers |= {edition.pub_id: f"/questions/{n}" for edition in question.editions}
    return {"pointer": pointers.get(subject, ""), "detail": line}


@blueprint.get(
    "/digest",
    operation_id="digestCatalog",
    responses=answers({200: schemas.Digests}, *COMMON, Kind.INVALID_REQUEST),
)
def show_digests(query: DigestQuery) -> dict[str, Any]:
    """List topics with their digests, a page at a time; load each topic whose digest differs from yours."""
    now = services().now
    at, found = services().catalog.run(
        lambda c: (at := now(c), catalog_sync.digests_after(c, query.after, limit=query.limit, now=at))
    )
    topics = [schemas.TopicDigest.model_validate(each._asdict()) for each in found]
    return schemas.Digests(now=at, topics=topics).model_dump(mode="json")


@blueprint.get(
    "/topics/<id:id>/questions",
    operation_id="listTopicQuestions",
    responses=answers({200: schemas.QuestionIds}, *COMMON),
)
def list_questions(path: CatalogPath) -> Response:
    """List a topic's questions that are not retired; if the topic exists, the `ETag` is its digest."""
    now = services().now
    ids, digests = services().catalog.run(
        lambda c: (
            catalog_sync.current_questions(c, path.id, now=now(c)),
            catalog_sync.digests_of(c, [path.id], now=now(c)),
        )
    )
    return _tagged(schemas.QuestionIds(ids=ids), digests)


_WITHDRAWN = answers({200: schemas.Withdrawn}, *COMMON, Kind.TOPIC_CHANGED, Kind.HOST_CATALOG)


@blueprint.put(
    "/topics/<id:id>/questions",
    operation_id="keepTopicQuestions",
    openapi_extensions=describe_body(blueprint, schemas.QuestionIds),
    responses=answers(
        {200: schemas.Withdrawn},
        *COMMON,
        *OF_BODY,
        Kind.TOPIC_CHANGED,
        Kind.INVALID_REQUEST,
        Kind.HOST_CATALOG,
    ),
)
def keep_questions(path: CatalogPath, header: Precondition) -> Response:
    """Withdraw all questions of a topic except those that the body names."""
    try:
        kept = schemas.QuestionIds.model_validate_json(schemas.plain_json_body()).ids
    except ValidationError as error:
        refuse_invalid(error)
    keep = partial(catalog_sync.keep_only, topic_id=path.id, kept=kept)
    return _withdraw(header, lambda _: [path.id], keep, f"topic {path.id}")


@blueprint.delete("/questions/<id:id>", operation_id="withdrawQuestion", responses=_WITHDRAWN)
def withdraw_question(path: CatalogPath, header: Precondition) -> Response:
    """Withdraw a question: it is retired if it has answers or is being asked, otherwise deleted."""
    question = [path.id]
    topics = partial(catalog_sync.topics_of, question_ids=question)
    withdraw = partial(catalog_sync.withdraw, question_ids=question)
    return _withdraw(header, topics, withdraw, f"question {path.id}")


@blueprint.delete("/topics/<id:id>", operation_id="withdrawTopic", responses=_WITHDRAWN)
def withdraw_topic(path: CatalogPath, header: Precondition) -> Response:
    """Withdraw a topic's questions; delete the topic unless it has sessions or retired questions."""
    withdraw = partial(catalog_sync.withdraw_topic, topic_id=path.id)
    return _withdraw(header, lambda _: [path.id], withdraw, f"topic {path.id}")


def _withdraw(
    header: Precondition,
    topics: Callable[[Connection], Collection[int]],
    withdraw: Callable[..., catalog_sync.Withdrawn],
    target: str,
) -> Response:
    now = services().now
    guarded = _guarded(topics, _expected(header), lambda c: withdraw(c, now=now(c)))
    done, digests = services().catalog.run(guarded)
    log.info(
        "catalog.questions_withdrawn",
        target=target,
        questions_deleted=done.deleted,
        questions_retired=done.retired,
    )
    return _tagged(schemas.Withdrawn.model_validate(done._asdict()), digests)


def _tagged(answer: BaseModel, digests: Iterable[catalog_digest.Digest]) -> Response:
    response = jsonify(answer.model_dump())
    for topic in digests:  # one, or none
        response.set_etag(topic.digest)
    return response


@blueprint.delete(
    "/learners/<id:id>",
    operation_id="deleteLearner",
    responses=answers({200: schemas.DeletedLearner}, *COMMON),
)
def remove_learner(path: CatalogPath) -> dict[str, Any]:
    """Delete a learner and all their data; the rows of their uploads stay, without payloads.

    Where the catalog is a document server's, the learner's rows in the server's tables stay.
    """
    redis = services().uploads.spool
    deleted = services().catalog.run(lambda c: delete_learner(c, path.id, redis))
    log.info(
        "learner.deleted",
        learner=path.id,
        sessions=deleted.sessions,
        attempts=deleted.attempts,
        progress=deleted.progress,
        blanked_uploads=deleted.uploads,
        blanked_conflicts=deleted.conflicts,
        spool_entries=deleted.spooled,
    )
    return schemas.DeletedLearner.model_validate(deleted._asdict()).model_dump()


@blueprint.get(
    "/learners/<id:id>",
    operation_id="exportLearner",
    responses=answers(
        {200: {"description": "NDJSON", "content": {NDJSON: {"schema": {"type": "string"}}}}}, *COMMON
    ),
)
def show_learner(path: CatalogPath) -> Response:
    """Export all data of a learner in Postgres: a line of JSON for each row, with the name of its table."""
    lines = services().catalog.run(lambda c: [*export_learner(c, path.id)])
    log.info("learner.exported", learner=path.id, rows=len(lines))
    return Response("".join(f"{line}\n" for line in lines), content_type=NDJSON)
