"""`import`: record past sessions from the review log of an Anki collection or deck."""

import csv
import html
import io
import json
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import click
from sqlalchemy import text

from cli import context
from cli.options import COUNT, FILE, duration, phrase, read_file
from shared import db
from shared.editions import CAN_GRADE
from shared.errors import ConfigurationError, StudyIngestError, UnknownLearnerError
from shared.payload import MAX_ATTEMPTS, normal_id
from shared.quizzes import UNREADABLE
from shared.study.grading import study_date
from shared.study.store import is_learner, learner_zone
from shared.uploads import Delivery, Receipt, Verdict, receive

BATCH = 100  # uploads that are recorded in one transaction
_KEYS = text(f"""
    SELECT i.pub_id, i.correct_choice FROM study_questions q JOIN published_items i ON i.source_id = q.id
    WHERE q.user_id = :learner AND {CAN_GRADE}
""")  # noqa: S608  # made of a constant

# The newest form first: if a file has two forms, the older one has only a note for older versions of Anki.
_DATABASES = ("collection.anki21b", "collection.anki21", "collection.anki2")
_LARGEST = 8 * 2**30  # bytes of an unpacked collection: a packed file may unpack to any size
_PART = 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS_2000_TO_2099 = range(946_684_800_000, 4_102_444_800_000)
_NAMESPACE = UUID("5c0f3c51-6a5c-4f0e-9d6c-0d1f5b0a7a11")
AGAIN, HARD = 1, 2


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--learner", type=COUNT, metavar="ID", required=True, help="The learner who did the reviews.")
@click.option("--field", type=phrase, metavar="NAME", help="Name of the note field that holds the pub_id.")
@click.option(
    "--mapping",
    type=FILE,
    help="CSV file with the column pub_id, and one of the columns card_id, note_id and guid.",
)
@click.option(
    "--gap",
    type=duration,
    default="30m",
    show_default=True,
    help="Shortest pause between two reviews that ends a session.",
)
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

    FILE is a collection (.colpkg) or a deck (.apkg). The sessions become uploads, which the workers replay.
    Counts are shown first. Safe to run again with the same --gap, also with a newer export. But answers count
    twice if the learner's time zone was changed, if the newer export also has older reviews that the first
    one lacked, or if both a deck and its whole collection are imported.
    """
    if (field is None) == (mapping is None):
        raise click.UsageError("give one of --field and --mapping")
    anki = read_anki(file, field=field, mapping=read_file(mapping) if mapping else None)
    with store.engine.connect() as connection:
        if not is_learner(connection, learner):
            raise UnknownLearnerError(
                f"learner {learner} is not in the catalog: correct --learner, or add the learner"
            )
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
    receipts: list[Receipt] = []
    for start in range(0, len(past.uploads), BATCH):
        bodies = [json.dumps(each).encode() for each in past.uploads[start : start + BATCH]]
        deliveries = [Delivery.read(body, learner_id=learner) for body in bodies]
        with store.engine.begin() as connection:
            # No message is sent from here: the next sweep enqueues the uploads.
            receipts += receive(connection, deliveries, first_try_after=0)
    _report(receipts)


def _report(receipts: list[Receipt]) -> None:
    deleted = sum(each.is_deleted for each in receipts)
    verdicts = Counter(each.verdict for each in receipts if not each.is_deleted)
    known = verdicts[Verdict.PENDING] + verdicts[Verdict.INGESTED]
    click.echo(f"{verdicts[Verdict.NEW]} new, {known} known, {verdicts[Verdict.CONFLICT]} conflict")
    if deleted:
        click.echo(f"{deleted} were deleted with the learner since an earlier import: not recorded again")
    if failed := verdicts[Verdict.REJECTED] + verdicts[Verdict.DEAD]:
        click.echo(
            f"{failed} rejected or dead since an earlier import: `study-ingest uploads list` says why;"
            " repair that, then run `study-ingest uploads replay`"
        )
    if locked := verdicts[Verdict.LOCKED]:
        raise click.ClickException(f"{locked} sessions are locked by another transaction: import again")


class AnkiError(StudyIngestError):
    """A file of Anki cannot be read; the text says why."""


class Anki(NamedTuple):
    """A collection: when it was made (each export has the same time), and its reviews, the oldest first."""

    created: int
    reviews: list["AnkiReview"]


class AnkiReview(NamedTuple):
    """A review: `id` is its time in milliseconds; `ease` is the button: 1 (Again) to 4 (Easy), or 0 (none).

    `pub_id` is empty if the card is deleted, or if its note names no question.
    """

    id: int
    ease: int
    pub_id: str


class PlannedImport(NamedTuple):
    """The uploads that an import records, and how many reviews it leaves out for each reason."""

    uploads: list[dict[str, Any]]
    left_out: dict[str, int]


def read_anki(file: Path, *, field: str | None, mapping: bytes | None) -> Anki:
    """Read the reviews of an .apkg or .colpkg; raise AnkiError if the file or the mapping cannot be used.

    Questions are named by the note's `field`, or by a `mapping`: a table with `pub_id` and one of the columns
    `card_id`, `note_id` and `guid`. Raises ConfigurationError if the file needs zstandard, and that is not
    installed.
    """
    with _opened(file) as db:
        names = _by_field(db, field) if field is not None else _by_table(mapping or b"")
        created = db.execute("SELECT crt FROM col").fetchone()[0]
        found = db.execute("""
            SELECT r.id, coalesce(CAST(r.ease AS integer), 0), c.id, n.id, n.guid, n.mid, n.flds
            FROM revlog r LEFT JOIN cards c ON c.id = r.cid LEFT JOIN notes n ON n.id = c.nid ORDER BY r.id
        """)
        return Anki(created, [AnkiReview(id_, ease, normal_id(names(*card))) for id_, ease, *card in found])


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with zipfile.ZipFile(file) as package, TemporaryDirectory() as directory:
            name = next((each for each in _DATABASES if each in package.namelist()), None)
            if name is None:
                raise AnkiError(
                    f"{file} contains no Anki collection: export one from Anki as .apkg or .colpkg"
                )
            unpacked = Path(directory) / "collection"
            with package.open(name) as packed, unpacked.open("wb") as copy:
                parts = _unpack(packed) if name.endswith("b") else iter(partial(packed.read, _PART), b"")
                for part in parts:
                    copy.write(part)
                    if copy.tell() > _LARGEST:
                        raise AnkiError(f"{file} unpacks to more than {_LARGEST >> 30} GiB")
            # `immutable`: nobody else opens this copy, and its header may name a log that the package lacks.
            with closing(sqlite3.connect(f"file:{unpacked}?mode=ro&immutable=1", uri=True)) as db:
                db.create_collation("unicase", lambda one, other: (one > other) - (one < other))
                yield db
    # The last three errors are raised where columns or JSON are not as Anki writes them.
    except (*UNREADABLE, sqlite3.Error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AnkiError(f"{file} cannot be read ({error}): export it from Anki again") from None


def _unpack(packed: Any) -> Iterator[bytes]:
    try:
        zstandard = import_module("zstandard")
    except ImportError:
        raise ConfigurationError(
            "this file has Anki's newer form, which needs zstandard: run `uv sync --extra anki`, or export it"
            ' from Anki with "Support older Anki versions"'
        ) from None
    try:
        yield from zstandard.ZstdDecompressor().read_to_iter(packed, write_size=_PART)
    except zstandard.ZstdError as error:
        raise ValueError(error) from None


def _by_field(db: sqlite3.Connection, field: str) -> Any:
    """Return a function that gives the text of one field of a card's note, without markup."""
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'fields'").fetchone()[0]:
        fields = db.execute("SELECT ntid, ord, name FROM fields").fetchall()
    else:
        (models,) = db.execute("SELECT models FROM col").fetchone()
        kinds = json.loads(models).items()
        fields = [(int(kind), each["ord"], each["name"]) for kind, model in kinds for each in model["flds"]]
    places = {kind: place for kind, place, name in fields if name == field}
    if not places:
        known = ", ".join(sorted({name for _, _, name in fields}))
        raise AnkiError(f"no note type has the field {field!r}: choose one of {known}")

    def name(_card: int, _note: int, _guid: str, kind: int | None, texts: str | None) -> str:
        if kind not in places or texts is None:
            return ""
        return html.unescape(re.sub(r"<[^>]*>", "", texts.split("\x1f")[places[kind]]))

    return name


def _by_table(mapping: bytes) -> Any:
    """Return a function that gives the pub_id of a card, by a CSV table of cards or notes with pub_ids."""
    try:
        table = mapping.decode()
    except UnicodeDecodeError:
        raise AnkiError("the mapping is not UTF-8: save it as UTF-8") from None
    delimiter = max(";,\t", key=table.partition("\n")[0].count)
    try:
        rows = list(csv.DictReader(io.StringIO(table, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise AnkiError(f"the mapping is not a table: {error}") from None
    columns = ("card_id", "note_id", "guid")
    place = next((n for n, each in enumerate(columns) if rows and each in rows[0]), None)
    if place is None or "pub_id" not in rows[0]:
        raise AnkiError(
            f"the mapping needs rows, the column pub_id, and one of the columns {', '.join(columns)}"
        )
    pub_ids = {(row[columns[place]] or "").strip(): row["pub_id"] or "" for row in rows}
    return lambda *card: pub_ids.get(str(card[place]), "")


def past_sessions(  # noqa: PLR0913  # what decides where a session ends, and what its answers mean
    anki: Anki, keys: Mapping[str, int], *, learner: int, gap: timedelta, zone: tzinfo, now: datetime
) -> PlannedImport:
    """Make uploads of reviews: Again is a miss, Hard is unsure but right, Good and Easy are right.

    `keys`: the right choices of the learner's editions. A session ends after a `gap`, at the end of a study
    date, or after as many reviews as an upload may have. Its uuid is made of the learner, the collection and
    the session's first review, and not of the catalog: so a second import with the same `gap` and `zone`
    counts nothing twice. Anki does not know which wrong choice a learner made: so a miss gets no choice.
    """
    left_out = dict.fromkeys(
        (
            "without an answer or a plausible time",
            "without a question",
            "unknown to the catalog",
            "in a session that may go on",
        ),
        0,
    )
    uploads = []
    for session in _sessions(anki.reviews, gap, zone):
        if now - _time(session[-1]) < gap:
            left_out["in a session that may go on"] += len(session)
            continue
        attempts = []
        for review in session:
            if not review.pub_id:
                left_out["without a question"] += 1
            elif review.pub_id not in keys:
                left_out["unknown to the catalog"] += 1
            else:
                selected = None if review.ease == AGAIN else keys[review.pub_id]
                attempts.append(
                    {
                        "pub_id": review.pub_id,
                        "selected": selected,
                        "unsure": review.ease == HARD,
                        "answered_at": _time(review).isoformat(),
                    }
                )
        if attempts:
            first = uuid5(_NAMESPACE, f"{learner} {anki.created} {session[0].id}")
            uploads.append({"client_session_uuid": str(first), "attempts": attempts})
    taken = sum(len(each["attempts"]) for each in uploads) + sum(left_out.values())
    left_out["without an answer or a plausible time"] = len(anki.reviews) - taken
    return PlannedImport(uploads, left_out)


def _sessions(reviews: Iterable[AnkiReview], gap: timedelta, zone: tzinfo) -> Iterator[list[AnkiReview]]:
    """Group reviews into sessions; leave out those without an answer, or not in the years 2000 to 2099."""
    session: list[AnkiReview] = []
    for review in reviews:
        if not AGAIN <= review.ease <= 4 or review.id not in _YEARS_2000_TO_2099:  # noqa: PLR2004  # Easy
            continue
        at = _time(review)
        if session and (
            at - _time(session[-1]) >= gap
            or study_date(at, None, zone) != study_date(_time(session[-1]), None, zone)
            or len(session) == MAX_ATTEMPTS
        ):
            yield session
            session = []
        session.append(review)
    if session:
        yield session


def _time(review: AnkiReview) -> datetime:
    return _EPOCH + timedelta(milliseconds=review.id)
