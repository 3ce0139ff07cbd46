"""Read a catalog file in any of its forms: JSON, a table (CSV), Moodle's XML or QTI."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from shared import catalog_form, quizzes
from shared.catalog_form import CatalogFile
from shared.errors import CatalogError
from shared.payload import MAX_SUBJECT, normal_id

REQUIRED = ("pub_id", "topic", "subject", "choices", "key", "learner")
OPTIONS = ("learner", "topic")  # of the command: used where a file leaves these out
IDS = ("id", "topic_id")  # columns that a file may have; without them, ids are made from names
DIGITS = re.compile(r"[0-9]{1,19}")
# The columns of a table that hold these fields of the catalog's form: faults name the column.
_COLUMN = {"user_id": "learner", "study_topic_id": "topic_id", "name": "topic", "correct_choice": "key"}


class Row(NamedTuple):
    """A question with its only edition, its place in the file, and its key as a 0-based index."""

    place: str
    learner: int
    topic: str
    subject: str
    pub_id: str
    choices: list[str]
    key: int
    id: int | None = None
    topic_id: int | None = None


class Read(NamedTuple):
    """A catalog, and the questions of the file that are left out, each with the reason.

    `is_table`: the file is a table, Moodle's XML or QTI, see `catalog_form.NOT_IN_TABLES`.
    """

    catalog: CatalogFile
    skipped: list[str]
    is_table: bool


def read(content: bytes, *, learner: int | None = None, topic: str | None = None) -> Read:
    """Read a catalog; raise CatalogError with one line per mistake.

    A quiz's question that cannot be asked is listed in `Read.skipped` instead. The form is recognised from
    the content. `learner` is used for questions that name no learner. In a table, `topic` is used for rows
    that name no topic; in a quiz, it replaces the topics of the file. JSON takes neither.
    """
    start = content[:200].lstrip()
    if not start or start[:1] in {b"{", b"["}:
        refuse_options(learner, topic)
        return Read(catalog_form.read_catalog(content), [], is_table=False)
    rows: list[Row] = []
    skipped: list[str] = []
    if start.startswith((b"<", b"PK\3\4")):
        for question in quizzes.read_questions(content):
            if question.wrong:
                skipped.append(f"{question.place}: {question.wrong}")
            else:
                rows.append(_row(question, learner, topic))
    else:
        options = {"learner": learner and str(learner), "topic": topic}
        rows = _table(content, {name: value for name, value in options.items() if value})
    return Read(_catalog(rows), skipped, is_table=True)


def refuse_options(learner: int | None, topic: str | None) -> None:
    """Raise CatalogError if an option is given for a catalog in JSON."""
    if learner or topic:
        raise CatalogError("a catalog in JSON names its learners and topics: leave out --learner and --topic")


def is_ndjson(content: bytes) -> bool:
    """Return whether a catalog has a JSON object on its first line, and more after it."""
    first, _, rest = content.lstrip().partition(b"\n")
    try:
        return first.startswith(b"{") and bool(rest.strip()) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _catalog(rows: list[Row]) -> CatalogFile:
    """Bring rows to the form that a catalog in JSON has; an id that a row lacks is made by `made_id`."""
    faults = []
    first: dict[str, Row] = {}
    topics: dict[int, Row] = {}
    questions = []
    for row in rows:
        seen = first.setdefault(normal_id(row.pub_id), row)
        if seen is not row:
            faults.append(_fault(row.place, "pub_id", f"{row.pub_id} is in {seen.place}, too: delete one"))
        topic_id = row.topic_id or made_id("topic", row.learner, row.topic)
        seen = topics.setdefault(topic_id, row)
        if (seen.learner, seen.topic) != (row.learner, row.topic):
            cause = f"topic {topic_id} has another name or learner in {seen.place}: correct one"
            faults.append(_fault(row.place, "topic", cause))
        questions.append(
            {
                "id": row.id or made_id("question", normal_id(row.pub_id)),
                "user_id": row.learner,
                "study_topic_id": topic_id,
                "subject": row.subject,
                "pub_id": row.pub_id,
                "choices": row.choices,
                "correct_choice": row.key,
            }
        )
    if faults:
        raise CatalogError("\n".join(faults))
    users = [*{row.learner: row for row in reversed(rows)}.values()]

    def place(location: tuple[int | str, ...]) -> str:
        kind, number, *fields = location
        row = {"users": users, "topics": [*topics.values()], "questions": rows}[str(kind)][int(number)]
        column = next((str(each) for each in reversed(fields) if isinstance(each, str)), "learner")
        return f"{row.place}, column {_COLUMN.get(column, column)}"

    data = {
        "users": [{"id": row.learner} for row in users],
        "topics": [{"id": n, "user_id": row.learner, "name": row.topic} for n, row in topics.items()],
        "questions": questions,
    }
    return catalog_form.validate(data, place)


def made_id(*names: Any) -> int:
    """Make an id from names; equal names give equal ids. Ids are at least 2**52, and exact in JavaScript."""
    digest = hashlib.sha256("\n".join(map(str, names)).encode()).digest()
    return 2**52 | int.from_bytes(digest[:7], "big") >> 4


def _fault(place: str, column: str, cause: str) -> str:
    return f"{place}, column {column}: {cause}"


def _row(question: quizzes.Question, learner: int | None, topic: str | None) -> Row:
    topic = topic or question.topic
    if not learner or not topic:
        name = "topic" if learner else "learner"
        raise CatalogError(f"{question.place}: names no {name}: give --{name}")
    subject = question.subject or topic[:MAX_SUBJECT]
    return Row(question.place, learner, topic, subject, question.pub_id, question.choices, question.key)


def _table(content: bytes, defaults: Mapping[str, str]) -> list[Row]:
    text = catalog_form.decode(content)
    # No name of a column contains a delimiter.
    delimiter = max(";,\t", key=text.lstrip("\r\n").partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[Row] = []
    faults: list[str] = []
    try:
        while True:
            place = f"line {reader.line_num + 1}"  # where the row begins; a cell may have several lines
            cells = [cell.strip() for cell in next(reader)]
            if not any(cells):
                continue
            if not header:
                header = [cell.lower() for cell in cells]
                faults += _faults_of_header(header, place, delimiter, defaults)
            elif len(cells) != len(header):
                cause = f"{len(cells)} cells for {len(header)} columns"
                faults.append(
                    f"{place}: {cause}: write one cell per column, and quote a cell that holds {delimiter!r}"
                )
            else:
                named = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
                rows += _read_row(place, {**defaults, **named}, faults)
    except csv.Error as error:
        faults.append(f"{place}: {error}: correct the quotes of this row")
    except StopIteration:
        pass
    if not header:
        faults.append(f"line 1: the row of column names is missing: {', '.join(REQUIRED)}")
    if faults:
        raise CatalogError("\n".join(faults))
    return rows


def _faults_of_header(names: list[str], place: str, delimiter: str, defaults: Mapping[str, str]) -> list[str]:
    faults = [
        f"{place}: the column {name} is missing"
        f" ({delimiter!r} ends a cell here): add it{f', or give --{name}' if name in OPTIONS else ''}"
        for name in REQUIRED
        if name not in names and name not in defaults
    ]
    for name, times in Counter(names).items():
        if name not in {*REQUIRED, *IDS}:
            known = ", ".join((*REQUIRED, *IDS))
            faults.append(_fault(place, name, f"is not known: delete it, or rename it to one of {known}"))
        elif times > 1:
            faults.append(_fault(place, name, "appears more than once: keep one"))
    return faults


def _read_row(place: str, cells: Mapping[str, str], faults: list[str]) -> list[Row]:
    """Read a row, or add what is wrong with it to the faults."""
    wrong = {name: "is empty: fill it in" for name in REQUIRED if name not in cells}
    for name in ("learner", *IDS):
        if name in cells and not (DIGITS.fullmatch(cells[name]) and int(cells[name])):
            wrong[name] = "is not a whole number above 0 with at most 19 digits: write only digits"
    choices = split_choices(cells.get("choices", ""))
    if "choices" in cells and (len(choices) < 2 or not all(choices)):  # noqa: PLR2004  # a choice needs two
        cause = "has an empty choice" if len(choices) > 1 else "has one choice"
        wrong["choices"] = f"{cause}: between two choices, write one line break or one |"
    key = -1
    try:
        key = read_key(cells.get("key", ""), choices)
    except ValueError as error:
        if not wrong.keys() & {"choices", "key"}:
            wrong["key"] = str(error)
    if wrong:
        faults += [_fault(place, name, cause) for name, cause in wrong.items()]
        return []
    ids = {name: int(cells[name]) for name in IDS if name in cells}
    learner, topic, subject, pub_id = (cells[name] for name in ("learner", "topic", "subject", "pub_id"))
    return [Row(place, int(learner), topic, subject, pub_id, choices, key, **ids)]


def split_choices(cell: str) -> list[str]:
    """Split a cell into choices: at its line breaks, where it has any, else at `|`."""
    return [part.strip() for part in re.split(r"\r\n|\r|\n" if {*cell} & {*"\r\n"} else r"\|", cell)]


def read_key(written: str, choices: list[str]) -> int:
    """Return the index of the choice that a key names: by letter (A first), number (1 first) or text.

    Raises ValueError if the key names no choice, or several.
    """
    named = {number for number, choice in enumerate(choices) if choice == written}
    if DIGITS.fullmatch(written):
        named.add(int(written) - 1)
    elif len(written) == 1 and written.upper() in ascii_uppercase:
        named.add(ascii_uppercase.index(written.upper()))
    match sorted(named & {*range(len(choices))}):
        case [key]:
            return key
        case []:
            raise ValueError(
                f"{written!r} names none of the {len(choices)} choices: write the right choice's letter"
                " (A is the first), number (1 is the first) or text"
            )
        case several:
            way = "letter" if DIGITS.fullmatch(written) else "number"
            places = " or ".join(str(each + 1) for each in several)
            raise ValueError(f"{written!r} may mean choice {places}: write the {way} of the right choice")
