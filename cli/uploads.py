"""`upload` and `uploads`: send uploads, find them, and act on them."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from cli import client, context, remote
from cli.options import BIGINT, COUNT, FILE, duration, phrase, read_file
from shared import db, retention
from shared.errors import ReplayRefusedError
from shared.ops import actions
from shared.ops.dry_run import Card, dry_run_replay
from shared.ops.reports import UploadReport, report_upload
from shared.ops.search import Listed, Search, search
from shared.uploads import Status

WAIT_S = 600.0  # seconds for the workers to replay all uploads of a file
HEADINGS = ("upload", "status", "received", "tries", "learner", "attempts", "why")
SHOWN = ("status", "user_id", "learner_id", "tries", "reason", "last_error", "clock_shift", "void_reason")
FINAL = (Status.INGESTED, Status.REJECTED, Status.DEAD)
FAILED = (Status.REJECTED, Status.DEAD)


@click.command()
@click.argument("file", type=FILE)
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--wait", is_flag=True, help="Wait until every upload is final, 10 minutes at most.")
@client.with_sender
def upload(file: Path, *, sender: client.Sender, concurrency: int, wait: bool) -> None:
    """Send the uploads of an NDJSON FILE, one per line; safe to run again. Exit 1 if any failed.

    An upload has failed if it could not be sent, or if the server answered with an error. With --wait, it has
    also failed if it is dead, or has no final status in time. An upload with the status `rejected` has not
    failed.

    FILE may be compressed by gzip; - reads standard input.
    """
    # Only a line feed ends a line: JSON text may contain other characters at which str.splitlines splits.
    all_lines = enumerate(read_file(file).split(b"\n"), start=1)
    numbered = {number: line for number, line in all_lines if line.strip()}
    lines = list(numbered.values())
    with ThreadPoolExecutor(concurrency) as threads:
        sending = threads.map(partial(_ask, sender.send), lines)
        with remote.track(sending, len(lines), "sending") as answers:
            sent = list(answers)
        if wait:
            wait_for = partial(_ask, partial(sender.wait, deadline=time.monotonic() + WAIT_S))
            received = client.Answer.RECEIVED
            waited = threads.map(
                lambda line, each: wait_for(line) if each.answer is received else each, lines, sent
            )
            with remote.track(waited, len(lines), "waiting") as answers:
                sent = list(answers)
    for number, each in zip(numbered, sent, strict=True):
        if each.why:
            click.echo(f"line {number}: {each.answer}: {each.why}", err=True)
    counts = Counter(each.answer for each in sent)
    click.echo(", ".join(f"{counts[answer]} {answer}" for answer in client.Answer))
    if counts[client.Answer.FAILED]:
        sys.exit(1)


def _ask(ask: Callable[[str], client.Sent], line: bytes) -> client.Sent:
    try:
        return ask(line.decode())
    except UnicodeDecodeError:
        return client.Sent(client.Answer.FAILED, "not UTF-8")
    except client.UnreachableServerError as error:
        return client.Sent(client.Answer.FAILED, str(error))


@click.group()
def uploads() -> None:
    """Find uploads, and act on them.

    Exit code 0: done, or nothing to do. 1: refused, or failed; a message says why. 2: wrong usage.
    """


def _search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that narrow a search by time, learner and question."""
    for option in (  # the last one comes first in the help
        click.option(
            "--question", type=phrase, metavar="PUB_ID", help="Only uploads that answer this question."
        ),
        click.option(
            "--learner", type=BIGINT, metavar="ID", help="Only uploads that answer questions of this learner."
        ),
        click.option(
            "--newer-than", type=duration, help="Only uploads received in the last DURATION, e.g. 7d."
        ),
        click.option(
            "--older-than", type=duration, help="Only uploads received longer ago than this, e.g. 10m."
        ),
    ):
        command = option(command)
    return command


@uploads.command("list")
@click.option("--status", type=click.Choice(Status, case_sensitive=False))
@_search_options
@click.option(
    "--skipped",
    is_flag=True,
    help="Only ingested uploads that have skipped attempts (with --question, at this question), are not"
    " voided, and still have their payload. May read all uploads: narrow it by --learner or --newer-than.",
)
@click.option(
    "--error",
    type=phrase,
    metavar="TEXT",
    help="Only uploads with TEXT in their last error or reason; case is ignored.",
)
@click.option("--limit", type=COUNT, default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each upload.")
@context.with_store
def list_(  # noqa: PLR0913  # one for each option
    *,
    status: Status | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    learner: int | None,
    question: str | None,
    skipped: bool,
    error: str | None,
    limit: int,
    as_json: bool,
    store: context.Store,
) -> None:
    """List uploads: with --status received the oldest first, else the newest first."""
    with store.engine.connect() as connection:
        wanted = Search(
            status, older_than, learner, question, error, limit, newer_than=newer_than, skipped=skipped
        )
        found = search(connection, wanted)
    if as_json:
        for each in found:
            context.print_json(each._asdict())
    else:
        _print_list(found)


def _print_list(found: Iterable[Listed]) -> None:
    rows = [
        (
            each.client_session_uuid,
            each.status,
            each.received_at,
            each.tries,
            each.user_id,
            "purged" if each.attempts is None else each.attempts,
            each.reason or each.last_error,
        )
        for each in found
    ]
    context.print_table(HEADINGS, rows)


@uploads.command()
@click.argument("uuid", type=click.UUID)
@click.option(
    "--payload", "with_payload", is_flag=True, help="Show the payload too: it has a learner's answers."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@context.with_store
def show(uuid: UUID, *, with_payload: bool, as_json: bool, store: context.Store) -> None:
    """Show an upload: its timeline, and what became of each topic and attempt."""
    with store.engine.connect() as connection:
        report = report_upload(connection, uuid)
    if as_json:
        known = asdict(report) | {"purged": report.payload is None}
        known["timeline"] = [moment._asdict() for moment in report.timeline]
        del known["events"]
        context.print_json(
            known if with_payload else {name: known[name] for name in known if name != "payload"}
        )
        return
    _print_report(report)
    if with_payload:
        click.echo("\npayload")
        click.echo("purged" if report.payload is None else json.dumps(report.payload, indent=2))


def _print_report(report: UploadReport) -> None:
    values = ((name, getattr(report, name)) for name in SHOWN)
    context.print_table(
        ("upload", str(report.client_session_uuid)),
        [(name.replace("_", " "), value) for name, value in values if value is not None],
    )
    click.echo("\ntimeline")
    context.print_table(("when", "what", "why", "by"), report.timeline)
    if result := report.result:
        if result["topics"]:
            click.echo("\ntopics")
            names = ("session_id", "study_topic_id", *context.COUNTS)
            headings = ("session", "topic", *context.COUNTS.values())
            context.print_table(headings, [[topic[name] for name in names] for topic in result["topics"]])
        click.echo("\nattempts")
        due = {each["pub_id"]: each["due"] for each in result["questions"]}
        rows = [
            (
                ordinal,
                pub_id := each["pub_id"],
                "void" if report.voided_at else each["status"],
                each.get("reason"),
                report.owners.get(pub_id) if report.owners else due.get(pub_id),
            )
            for ordinal, each in enumerate(result["attempts"])
        ]
        context.print_table(
            ("ordinal", "question", "fate", "why", "learner" if report.owners else "due"), rows
        )
    if report.conflicts:
        click.echo("\nconflicts")
        others = [(each.id, each.received_at, each.content_hash) for each in report.conflicts]
        context.print_table(("id", "received", "content"), others)


@uploads.command()
@click.argument("uuid", type=click.UUID, required=False)
@click.option(
    "--status", type=click.Choice(FAILED, case_sensitive=False), help="Select the uploads with this status."
)
@click.option(
    "--error",
    type=phrase,
    metavar="TEXT",
    help="Select the failed uploads with TEXT in their last error or reason; case is ignored.",
)
@_search_options
@click.option(
    "--skipped",
    is_flag=True,
    help="Replay the ingested upload UUID again, to add its skipped attempts. Without a UUID, other options"
    " select uploads, as for `uploads list --skipped`: these are listed, and replayed after you confirm.",
)
@click.option(
    "--shift-clock",
    type=actions.read_shift,
    metavar="SHIFT",
    help="Correct a wrong clock: add SHIFT, e.g. +6y12d, to all times of the upload UUID. Shows a dry run"
    " and asks before it replays.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change for each question; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@context.with_store
def replay(  # noqa: PLR0913  # one for each option
    uuid: UUID | None,
    *,
    status: Status | None,
    error: str | None,
    skipped: bool,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    learner: int | None,
    question: str | None,
    shift_clock: timedelta | None,
    dry_run: bool,
    yes: bool,
    store: context.Store,
) -> None:
    """Replay uploads: rejected or dead ones, or ingested ones (--skipped, --shift-clock).

    Rejected and dead uploads are set back to `received`, and the next sweep enqueues them. Name one by its
    UUID, or select many by the other options: the selection leaves out purged uploads. --skipped and
    --shift-clock replay ingested uploads at once, each in a transaction of its own. Exit 1 if any was
    refused.
    """
    wanted = Search(
        status, older_than, learner, question, error, None, newer_than=newer_than, skipped=skipped
    )
    if (wanted != Search(limit=None, skipped=skipped)) == (uuid is not None):
        raise click.UsageError(
            "give either a UUID, or options that select uploads, such as --status (with --skipped, such as"
            " --newer-than)"
        )
    if shift_clock is not None and (uuid is None or skipped):
        raise click.UsageError("--shift-clock needs a UUID, and cannot be combined with --skipped")
    if skipped and (status is not None or error is not None):
        raise click.UsageError("--skipped is for ingested uploads: leave out --status and --error")
    if uuid is None:
        act: Callable[..., None] = partial(_add_all_skipped, yes=yes) if skipped else _replay_failed
        act(store, wanted, dry_run=dry_run)
        return
    if dry_run or shift_clock is not None:
        _dry_run(store, uuid, skipped=skipped, clock_shift=shift_clock)
    if dry_run:
        return
    if shift_clock is not None and not yes:
        click.confirm("Replay the upload with the shifted times?", abort=True)
    zone = store.default_zone
    with store.engine.begin() as connection:
        now = db.now(connection)
        if skipped:
            message = f"{actions.add_skipped(connection, uuid, now=now, default_zone=zone)} attempts added"
        elif shift_clock is not None:
            done = actions.shift_clock(connection, uuid, shift_clock, now=now, default_zone=zone)
            message = f"{uuid} {done}"
        else:
            message = f"{uuid} {actions.set_back(connection, uuid)}"
    click.echo(message)


def _replay_failed(store: context.Store, wanted: Search, *, dry_run: bool) -> None:
    """Set uploads back; with `dry_run`, try each separately: effects of one on another are not shown."""
    with store.engine.connect() as connection:
        found, purged = actions.find_failed(connection, wanted), actions.count_purged(connection, wanted)
    if dry_run:
        refused = _refused(found, lambda uuid: _dry_run(store, uuid))
        click.echo(f"{len(found)} uploads, {refused} refused, {purged} left out (purged)")
        if refused:
            raise click.exceptions.Exit(1)
        return
    counts: Counter[actions.RequestResult] = Counter()
    for uuid in found:  # one transaction for each, so that locks are short
        with store.engine.begin() as connection:
            counts[actions.set_back(connection, uuid)] += 1
    parts = [f"{counts[each]} {each}" for each in actions.RequestResult if counts[each]]
    click.echo(", ".join([*parts, f"{purged} left out (purged)"] if purged else parts) or "none found")


def _add_all_skipped(store: context.Store, wanted: Search, *, dry_run: bool, yes: bool) -> None:
    """Add the skipped attempts, in one transaction for each upload; with `dry_run`, only show the effects."""
    with store.engine.connect() as connection:
        found = search(connection, wanted)[::-1]  # the oldest first
    if not found:
        click.echo("none found")
        return
    added = 0

    def add(uuid: UUID) -> None:
        nonlocal added
        with actions.refusing_if_busy(uuid), store.engine.begin() as connection:
            now = db.now(connection)
            added += actions.add_skipped(connection, uuid, now=now, default_zone=store.default_zone)

    if not dry_run:
        _print_list(found)
        if not yes:
            click.confirm(f"Replay these {len(found)} uploads?", abort=True)
    act = partial(_dry_run, store, skipped=True) if dry_run else add
    refused = _refused([each.client_session_uuid for each in found], act)
    click.echo(f"{len(found)} uploads, {refused} refused" + ("" if dry_run else f", {added} attempts added"))
    if refused:
        raise click.exceptions.Exit(1)


def _refused(found: Iterable[UUID], act: Callable[[UUID], None]) -> int:
    """Act on each upload; print why an upload is refused, and return how many are refused."""
    refused = 0
    for uuid in found:
        try:
            act(uuid)
        except ReplayRefusedError as error:
            click.echo(str(error), err=True)
            refused += 1
    return refused


def _dry_run(
    store: context.Store, uuid: UUID, *, skipped: bool = False, clock_shift: timedelta | None = None
) -> None:
    with store.engine.connect() as connection:
        shown = dry_run_replay(
            connection,
            uuid,
            now=db.now(connection),
            default_zone=store.default_zone,
            skipped=skipped,
            clock_shift=clock_shift,
        )
    if shown.already:
        click.echo(f"{uuid} {shown.already}")
        return
    why = f" ({shown.upload.reason})" if shown.upload.reason else ""
    click.echo(f"{uuid} would be {shown.upload.status}{why}; nothing was changed")
    if not shown.moved:
        click.echo("no progress would change")
        return
    rows = []
    for pub_id, before, after in shown.moved:
        olds = _written(before) if before else ["new"] * len(Card._fields)
        news = _written(after) if after else ["gone"] * len(Card._fields)
        moves = [old if old == new else f"{old} → {new}" for old, new in zip(olds, news, strict=True)]
        rows.append((pub_id, *moves))
    context.print_table(("question", *Card._fields), rows)


def _written(card: Card) -> list[str]:
    return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in card]


@uploads.command()
@click.argument("uuid", type=click.UUID)
@click.option(
    "--reason",
    type=phrase,
    metavar="TEXT",
    required=True,
    help="The reason; it is stored with the sessions.",
)
@context.with_store
def void(uuid: UUID, *, reason: str, store: context.Store) -> None:
    """Take the sessions of an upload out of the learner's progress; they stay on record."""
    with store.engine.begin() as connection:
        count = actions.void_upload(connection, uuid, reason=reason)
    click.echo(f"{count} sessions voided" if count else "voided already")


@uploads.command()
@click.argument("uuid", type=click.UUID)
@context.with_store
def unvoid(uuid: UUID, *, store: context.Store) -> None:
    """Bring the voided sessions of an upload back into the learner's progress."""
    with store.engine.begin() as connection:
        count = actions.unvoid_upload(connection, uuid)
    click.echo(f"{count} sessions are back" if count else "nothing to do: the upload is not voided")


@uploads.command("purge")
@click.option(
    "--older-than",
    type=duration,
    required=True,
    help="Only uploads that have been final for longer than this, e.g. 90d.",
)
@click.option(
    "--status",
    type=click.Choice(FINAL, case_sensitive=False),
    default=Status.INGESTED,
    help="Only uploads with this status. Without its payload, an ingested upload can never be replayed; a"
    " rejected or dead one can be replayed after it is sent again.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@context.with_store
def purge_(*, older_than: timedelta, status: Status, dry_run: bool, store: context.Store) -> None:
    """Delete the payloads of old final uploads, and of their old conflicts.

    The rows stay, so that no upload is ingested twice.
    """
    if dry_run:
        with store.engine.connect() as connection:
            count = retention.count_purgeable(connection, status, older_than=older_than)
        click.echo(f"{count} payloads would be purged")
    else:
        click.echo(f"{sum(retention.purge(store.engine, status, older_than=older_than))} payloads purged")
