"""`import`: record past sessions from the review log of Anki."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import click
from sqlalchemy import text

from cli import context
from shared import db, uploads
from shared.anki import past_sessions, read_anki
from shared.errors import UnknownLearnerError
from shared.study.store import learner_zone

BATCH = 100  # uploads that are recorded in one transaction
_KNOWN = text("SELECT EXISTS (SELECT FROM users WHERE id = :learner)")
_KEYS = text("""
    SELECT i.pub_id, i.correct_choice FROM study_questions q JOIN published_items i ON i.source_id = q.id
    WHERE q.user_id = :learner
""")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--learner", type=context.COUNT, metavar="ID", required=True, help="Whose reviews they are.")
@click.option(
    "--field", type=context.Line(), metavar="NAME", help="Field of the notes that holds the pub_id."
)
@click.option("--mapping", type=context.FILE, help="CSV: pub_id, and card_id, note_id or guid.")
@click.option("--gap", type=context.Duration(), default="30m", show_default=True, help="Ends a session.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@context.with_store
def import_(  # noqa: PLR0913  # one for each option
    file: Path,
    *,
    learner: int,
    field: str | None,
    mapping: Path | None,
    gap: timedelta,
    dry_run: bool,
    yes: bool,
    store: context.Store,
) -> None:
    """Record past sessions from the review log of Anki.

    FILE is a collection (.colpkg) or a deck (.apkg). The sessions become uploads, which the workers replay as
    any other. Counts are shown first. Safe to run again, with a newer export of the same collection, too.
    """
    if (field is None) == (mapping is None):
        raise click.UsageError("give one of --field and --mapping")
    anki = read_anki(file, field=field, mapping=context.read_file(mapping) if mapping else None)
    with store.engine.connect() as connection:
        if not db.scalar(connection, _KNOWN, {"learner": learner}):
            raise UnknownLearnerError(f"learner {learner} is unknown: load the catalog first")
        keys = dict(db.execute(connection, _KEYS, {"learner": learner}).fetchall())
        zone = learner_zone(connection, learner, store.default_zone)
        past = past_sessions(anki, keys, learner=learner, gap=gap, zone=zone, now=db.now(connection))
    answers = sum(len(each["attempts"]) for each in past.uploads)
    click.echo(f"{len(anki.reviews)} reviews: {answers} answers in {len(past.uploads)} sessions")
    for reason, count in past.left_out.items():
        if count:
            click.echo(f"left out: {count} {reason}")
    if dry_run or not past.uploads:
        return
    if not yes:
        click.confirm("Record these sessions?", abort=True)
    verdicts: Counter[str] = Counter()
    for start in range(0, len(past.uploads), BATCH):
        bodies = [json.dumps(each).encode() for each in past.uploads[start : start + BATCH]]
        deliveries = [uploads.Delivery.read(body, learner_id=learner) for body in bodies]
        with store.engine.begin() as connection:
            # No message is on its way: the next sweep enqueues them.
            receipts = uploads.receive(connection, deliveries, first_try_after=0)
        verdicts.update(
            each.verdict if each.verdict in {uploads.Verdict.NEW, uploads.Verdict.CONFLICT} else "known"
            for each in receipts
        )
    click.echo(", ".join(f"{verdicts[each]} {each}" for each in ("new", "known", "conflict")))
