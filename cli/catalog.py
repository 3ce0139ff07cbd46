"""`catalog`: load learners, topics and questions into the database, or send them to a server."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import track

from cli import client, context
from shared import catalog_admin, catalog_files, catalog_reconcile, catalog_sync, spool
from shared.catalog_admin import CatalogFile
from shared.errors import ConfigurationError, StudyIngestError

# Most bytes of rows in a request; the server accepts 1 MiB.
MAX_REQUEST = 900_000
TIMEOUT_S = 120.0


class RefusedCatalogError(StudyIngestError):
    """The server refused a request or a part of a catalog; the text says which and why."""


def with_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a command the `wanted` catalog of its FILE; print the parts of the file that were skipped."""

    @click.argument("file", type=context.FILE)
    @click.option(
        "--learner", type=context.COUNT, metavar="ID", help="Owner of questions that name no learner."
    )
    @click.option(
        "--topic", type=context.Line(), metavar="NAME", help="Topic of questions that name no topic."
    )
    @wraps(command)
    def run(*args: Any, file: Path, learner: int | None, topic: str | None, **options: Any) -> Any:
        read = catalog_files.read(context.read_file(file), learner=learner, topic=topic)
        for line in read.skipped:
            click.echo(f"skipped: {line}", err=True)
        return command(*args, wanted=read.catalog, **options)

    return run


@click.group()
def catalog() -> None:
    """Load learners, topics and questions."""


@catalog.command()
@with_file
@click.option("--force", is_flag=True, help="Correct keys (answers are graded again), texts and owners.")
@click.option("--dry-run", is_flag=True, help="Only show what would change in stored editions.")
@context.with_store
def load(*, wanted: CatalogFile, force: bool, dry_run: bool, store: context.Store) -> None:
    """Load learners, topics and questions from a FILE; loading it again changes nothing.

    FILE: JSON, CSV, Moodle's XML or QTI, also compressed by gzip; - reads standard input.
    """
    with store.engine.connect() as connection:
        changes = catalog_admin.compare(connection, wanted) if dry_run else []
        parts = [] if dry_run else catalog_admin.split(connection, wanted, force=force)
    for part in parts:
        with store.engine.begin() as connection:
            changes += catalog_admin.load_catalog(connection, part, force=force)
    editions = sum(len(question.editions) for question in wanted.questions)
    click.echo(
        f"{len(wanted.users)} learners, {len(wanted.topics)} topics, {len(wanted.questions)} questions,"
        f" {editions} editions" + (" (nothing is loaded: dry run)" if dry_run else "")
    )
    for change in changes:
        click.echo(str(change))


@catalog.command()
@with_file
@click.option("--url", required=True, help="The server, e.g. https://ingest.example")
@click.option("--force", is_flag=True, help="Correct keys (answers are graded again), texts and owners.")
def sync(*, wanted: CatalogFile, url: str, force: bool) -> None:
    """Send what differs from a server's catalog, and withdraw the questions that FILE does not have.

    Topics that FILE does not name stay as they are. CATALOG_TOKEN must be set as on the server. Safe to run
    again.
    """
    token = client.first_token(os.environ.get("CATALOG_TOKEN", ""))
    if not token:
        raise ConfigurationError("CATALOG_TOKEN: must be set as on the server")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_S) as server:
        differing = _differing(server, wanted)
        topics = [topic for topic in wanted.topics if topic.id in differing]
        questions = [each for each in wanted.questions if each.study_topic_id in differing]
        sent = CatalogFile(users=wanted.users, topics=topics, questions=questions)
        changes: list[dict[str, Any]] = []
        for part in track([*_parts(sent)], "sending", console=Console(stderr=True), transient=True):
            body = part.model_dump_json(exclude_defaults=True).encode()
            answer = _ask(server, "PUT", "/catalog", params={"force": force}, content=body)
            changes += answer["changes"]
        known = {question.id for question in questions}
        stored = (_ask(server, "GET", f"/catalog/topics/{id_}/questions")["ids"] for id_ in sorted(differing))
        gone = [question for ids in stored for question in ids if question not in known]
        for question in track(gone, "withdrawing", console=Console(stderr=True), transient=True):
            _ask(server, "DELETE", f"/catalog/questions/{question}")
    click.echo(
        f"{len(differing)} of {len(wanted.topics)} topics differed: {len(questions)} questions sent,"
        f" {len(gone)} withdrawn"
    )
    for change in changes:
        click.echo(str(catalog_admin.EditionChange(**change)))


@catalog.command()
@click.option("--force", is_flag=True, help="Grade those answers again, and delete what is here of learners.")
@context.with_store
def reconcile(*, force: bool, store: context.Store) -> None:
    """List answers that the document server's keys of now grade differently, and learners whom it deleted.

    Exit 1 if there are any. Needs REDIS_URL with --force where there is a spool.
    """
    url = os.environ.get("REDIS_URL")
    redis = spool.connect(url) if url else None
    found = 0
    for differences in catalog_reconcile.find_differences(store.engine):
        for each in differences:
            found += 1
            if force:
                with store.engine.begin() as connection:
                    catalog_reconcile.reconcile(connection, each, redis)
            click.echo(f"{each}{'; reconciled' if force else ''}")
    click.echo(f"{found} differences")
    if found and not force:
        raise click.exceptions.Exit(1)


def _ask(server: httpx.Client, method: str, path: str, **request: Any) -> Any:
    try:
        response = server.request(method, path, headers={"Content-Type": "application/json"}, **request)
        if response.is_success:
            return response.json()
        problem = response.json()
        lines = [f"{each['pointer']}: {each['detail']}" for each in problem.get("errors", [])]
        raise RefusedCatalogError("\n".join([f"{method} {path}: {problem['title']}", *lines]))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise RefusedCatalogError(
            f"{method} {path}: the answer is not from study-ingest ({type(error).__name__})"
        ) from None


def _differing(server: httpx.Client, wanted: CatalogFile) -> set[int]:
    """Return the topics of the file whose digest differs from the server's."""
    stored: dict[int, str] = {}
    after = 0
    while page := _ask(server, "GET", "/catalog/digest", params={"after": after})["topics"]:
        stored |= {each["topic_id"]: each["digest"] for each in page}
        after = page[-1]["topic_id"]
    ours = catalog_sync.digests(wanted, now=datetime.now(UTC))
    return {topic for topic, each in ours.items() if stored.get(topic) != each.digest}


def _parts(sent: CatalogFile) -> Iterator[CatalogFile]:
    """Cut a catalog into requests: learners first, then topics, then questions."""
    for kind in CatalogFile.model_fields:
        part: list[Any] = []
        size = 0
        for row in getattr(sent, kind):
            size += len(row.model_dump_json())
            if part and size > MAX_REQUEST:
                yield CatalogFile(**{kind: part})
                part, size = [], len(row.model_dump_json())
            part.append(row)
        if part:
            yield CatalogFile(**{kind: part})
