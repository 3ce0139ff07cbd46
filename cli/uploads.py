"""`uploads replay`: give uploads another chance, or look first what that would do."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import track

from cli.client import Answer, Sender, Sent, UnreachableServerError, with_sender
from cli.context import (
    BIGINT,
    COUNT,
    Duration,
    Line,
    Store,
    print_json,
    print_table,
    with_store,
)
from cli.demo import COUNTS
from shared.errors import ReplayRefusedError
from shared.ops.actions import (
    Revival,
    add_skipped,
    count_purgeable,
    count_purged,
    find_failed,
    purge,
    revive,
    revive_one,
)
from shared.ops.dry_run import Card, Rehearsal, rehearse_replay, rehearse_skipped
from shared.ops.reports import Dossier, open_dossier
from shared.ops.search import Listed, Search, search
from shared.study.voiding import unvoid_upload, void_upload
from shared.uploads import Status

# Long enough for any backlog that one file makes, short enough not to hang for ever.
WAIT_S = 600.0


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--wait", is_flag=True, help="Wait until every upload is final.")
@with_sender
def upload(file: Path, *, sender: Sender, concurrency: int, wait: bool) -> None:
    """Send the uploads of an NDJSON FILE, one a line; safe to run again. Exit 1 if any failed."""
    lines = _lines(file)
    with ThreadPoolExecutor(concurrency) as threads:
        sent = list(_shown(threads.map(lambda line: _send(sender, line), lines), len(lines), "sending"))
        if wait:
            deadline = time.monotonic() + WAIT_S
            waited = threads.map(lambda line, each: _wait(sender, line, each, deadline), lines, sent)
            sent = list(_shown(waited, len(lines), "waiting"))
    _report(sent)


def _lines(file: Path) -> list[bytes]:
    """Split at line feeds alone: JSON text may hold whatever else ends a line."""
    return [line for line in file.read_bytes().split(b"\n") if line.strip()]


def _send(sender: Sender, line: bytes) -> Sent:
    try:
        return sender.send(line.decode())
    except UnicodeDecodeError:
        return Sent(Answer.FAILED, "not UTF-8")
    except UnreachableServerError as error:
        return Sent(Answer.FAILED, str(error))


def _wait(sender: Sender, line: bytes, sent: Sent, deadline: float) -> Sent:
    try:
        return sender.wait(line.decode(), deadline) if sent.answer is Answer.RECEIVED else sent
    except UnreachableServerError as error:
        return Sent(Answer.FAILED, str(error))


def _shown(answers: Iterable[Sent], total: int, what: str) -> Iterator[Sent]:
    """Draw a progress bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    return iter(track(answers, what, total=total, console=console, disable=not console.is_terminal))


def _report(sent: list[Sent]) -> None:
    for line, each in enumerate(sent, start=1):
        if each.why:
            click.echo(f"line {line}: {each.answer}: {each.why}", err=True)
    counts = Counter(each.answer for each in sent)
    click.echo(", ".join(f"{counts[answer]} {answer}" for answer in Answer))
    if counts[Answer.FAILED]:
        sys.exit(1)


HEADINGS = ("upload", "status", "received", "tries", "learner", "attempts", "why")


@click.command("list")
@click.option("--status", type=click.Choice(Status, case_sensitive=False), help="Where it stands.")
@click.option("--older-than", type=Duration(), help="Received longer ago than this, e.g. 10m.")
@click.option("--learner", type=BIGINT, metavar="ID", help="Whose questions it answers.")
@click.option("--question", type=Line(), metavar="PUB_ID", help="A question that it answers.")
@click.option("--error", type=Line(), metavar="TEXT", help="A part of its last error or reason, in any case.")
@click.option("--limit", type=COUNT, default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line an upload.")
@with_store
def list_uploads(  # noqa: PLR0913  # one for each option
    *,
    status: Status | None,
    older_than: timedelta | None,
    learner: int | None,
    question: str | None,
    error: str | None,
    limit: int,
    as_json: bool,
    store: Store,
) -> None:
    """List uploads: with --status received the longest waiting first, else the newest first."""
    wanted = Search(status, older_than, learner, question, error, limit)
    with store.engine.connect() as connection:
        found = search(connection, wanted)
    if as_json:
        for each in found:
            print_json(each._asdict())
    else:
        print_table(HEADINGS, map(_row, found))


def _row(each: Listed) -> tuple[object, ...]:
    why = each.reason or each.last_error
    return (
        each.client_session_uuid,
        each.status,
        each.received_at,
        each.tries,
        each.user_id,
        "purged" if each.attempts is None else each.attempts,
        why,
    )


FINAL = (Status.INGESTED, Status.REJECTED, Status.DEAD)


@click.command("purge")
@click.option("--older-than", type=Duration(), required=True, help="Final for longer than this, e.g. 90d.")
@click.option(
    "--status",
    type=click.Choice(FINAL, case_sensitive=False),
    default=Status.INGESTED,
    help="By default ingested: without its payload, a rejected or dead upload can never be replayed.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@with_store
def purge_uploads(*, older_than: timedelta, status: Status, dry_run: bool, store: Store) -> None:
    """Forget the answers of uploads that are done; their rows stay, so that nothing is taken in twice."""
    before = datetime.now(UTC) - older_than
    if dry_run:
        with store.engine.connect() as connection:
            click.echo(f"{count_purgeable(connection, status, before=before)} payloads would be purged")
    else:
        click.echo(f"{sum(purge(store.engine, status, before=before))} payloads purged")


FAILED = click.Choice([Status.REJECTED, Status.DEAD], case_sensitive=False)


@click.command()
@click.argument("uuid", type=click.UUID, required=False)
@click.option("--status", type=FAILED, help="All of this status.")
@click.option(
    "--error", type=Line(), metavar="TEXT", help="All failed with this in their last error or reason."
)
@click.option("--skipped", is_flag=True, help="Add what was skipped of an ingested UUID.")
@click.option("--dry-run", is_flag=True, help="Show what would become of every card; change nothing.")
@with_store
def replay(  # noqa: PLR0913  # one for each option
    uuid: UUID | None, *, status: Status | None, error: str | None, skipped: bool, dry_run: bool, store: Store
) -> None:
    """Set rejected or dead uploads back to `received`: the sweeper rings for them at once.

    Name one by its UUID, or many by --status and --error. Exit 1 if any was refused; of many, those that are
    purged are passed over.
    """
    many = status is not None or error is not None
    if many == (uuid is not None) or (skipped and uuid is None):
        raise click.UsageError("name one UUID, or many by --status or --error; --skipped needs a UUID")
    if uuid is None:
        _replay_many(store, Search(status=status, error=error), dry_run=dry_run)
    elif dry_run:
        _show(_rehearse(store, uuid, skipped=skipped))
    elif skipped:
        with store.engine.begin() as connection:
            added = add_skipped(connection, uuid, now=datetime.now(UTC), default_zone=store.default_zone)
        click.echo(f"{added} attempts added")
    else:
        with store.engine.begin() as connection:
            revival = revive_one(connection, uuid)
        click.echo(f"{uuid} {revival}")


def _replay_many(store: Store, wanted: Search, *, dry_run: bool) -> None:
    if dry_run:
        _rehearse_many(store, wanted)
        return
    with store.engine.connect() as connection:
        found, purged = find_failed(connection, wanted), count_purged(connection, wanted)
    counts: Counter[Revival] = Counter()
    for upload in found:  # each by itself: no lock is held for longer than one takes
        with store.engine.begin() as connection:
            counts[revive(connection, upload)] += 1
    counts[Revival.PURGED] = purged
    click.echo(", ".join(f"{counts[each]} {each}" for each in Revival if counts[each]) or "none found")


def _rehearse_many(store: Store, wanted: Search) -> None:
    """Rehearse each by itself: what one would do for another is not shown."""
    with store.engine.connect() as connection:
        found, purged = find_failed(connection, wanted), count_purged(connection, wanted)
    refused = 0
    for upload in found:
        try:
            _show(_rehearse(store, upload, skipped=False))
        except ReplayRefusedError as error:
            click.echo(str(error), err=True)
            refused += 1
    click.echo(f"{len(found)} rehearsed, {refused} refused, {purged} purged")
    if refused:
        raise click.exceptions.Exit(1)


def _rehearse(store: Store, uuid: UUID, *, skipped: bool) -> Rehearsal:
    rehearse = rehearse_skipped if skipped else rehearse_replay
    with store.engine.connect() as connection:
        return rehearse(connection, uuid, now=datetime.now(UTC), default_zone=store.default_zone)


def _show(rehearsal: Rehearsal) -> None:
    upload = rehearsal.upload
    if rehearsal.already:
        click.echo(f"{upload.client_session_uuid} {rehearsal.already}")
        return
    why = f" ({upload.reason})" if upload.reason else ""
    click.echo(f"{upload.client_session_uuid} would be {upload.status}{why}; nothing was changed")
    if moved := rehearsal.moved:
        rows = [(pub_id, *_moves(before, after)) for pub_id, before, after in moved]
        print_table(("question", *Card._fields), rows)
    else:
        click.echo("no card would move")


def _moves(before: Card | None, after: Card | None) -> list[str]:
    olds = [_written(value) for value in before] if before else ["new"] * len(Card._fields)
    news = [_written(value) for value in after] if after else ["gone"] * len(Card._fields)
    return [old if old == new else f"{old} → {new}" for old, new in zip(olds, news, strict=True)]


def _written(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


KNOWN = ("status", "user_id", "tries", "reason", "last_error", "void_reason")


@click.command()
@click.argument("uuid", type=click.UUID)
@click.option("--payload", "with_payload", is_flag=True, help="The payload too: a learner's answers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@with_store
def show(uuid: UUID, *, with_payload: bool, as_json: bool, store: Store) -> None:
    """Show an upload: what happened when, and what became of each topic and attempt."""
    with store.engine.connect() as connection:
        dossier = open_dossier(connection, uuid)
    if as_json:
        known = asdict(dossier) | {"purged": dossier.payload is None}
        print_json(known if with_payload else {name: known[name] for name in known if name != "payload"})
        return
    _print_report(dossier)
    if with_payload:
        _section("payload", "purged" if dossier.payload is None else json.dumps(dossier.payload, indent=2))


def _print_report(dossier: Dossier) -> None:
    print_table(
        ("upload", str(dossier.client_session_uuid)),
        [(name.replace("_", " "), value) for name in KNOWN if (value := getattr(dossier, name)) is not None],
    )
    _section("timeline")
    print_table(("when", "what"), dossier.timeline)
    if dossier.result:
        _show_result(dossier.result)
    if dossier.conflicts:
        _section("conflicts")
        print_table(
            ("id", "received", "content"),
            [(each.id, each.received_at, each.content_hash) for each in dossier.conflicts],
        )


def _show_result(result: dict[str, Any]) -> None:
    if result["topics"]:
        _section("topics")
        names = ("session_id", "study_topic_id", *COUNTS)
        headings = ("session", "topic", *(heading.replace("\n", " ") for heading in COUNTS.values()))
        print_table(headings, [[topic[name] for name in names] for topic in result["topics"]])
    _section("attempts")
    due = {each["pub_id"]: each["due"] for each in result["questions"]}
    rows = [
        (place, each["pub_id"], each["status"], each.get("reason"), due.get(each["pub_id"]))
        for place, each in enumerate(result["attempts"])
    ]
    print_table(("place", "question", "became", "why", "due"), rows)


def _section(title: str, text: str | None = None) -> None:
    click.echo(f"\n{title}")
    if text is not None:
        click.echo(text)


@click.command()
@click.argument("uuid", type=click.UUID)
@click.option("--reason", type=Line(), required=True, help="Why; kept with the sessions.")
@with_store
def void(uuid: UUID, *, reason: str, store: Store) -> None:
    """Take the sessions of an upload out of the learner's progress; they stay on record."""
    now = datetime.now(UTC)
    with store.engine.begin() as connection:
        count = void_upload(connection, uuid, reason=reason, now=now, default_zone=store.default_zone)
    click.echo(f"{count} sessions voided" if count else "voided already")


@click.command()
@click.argument("uuid", type=click.UUID)
@with_store
def unvoid(uuid: UUID, *, store: Store) -> None:
    """Bring the voided sessions of an upload back into the learner's progress."""
    with store.engine.begin() as connection:
        count = unvoid_upload(connection, uuid, default_zone=store.default_zone)
    click.echo(f"{count} sessions are back" if count else "not voided")


@click.group()
def uploads() -> None:
    """Find uploads that were received, and act on them.

    Exit code 0: done, or nothing was left to do. 1: unknown, or refused with nothing changed. 2: wrong usage.
    """


for command in (list_uploads, show, replay, void, unvoid, purge_uploads):
    uploads.add_command(command)
