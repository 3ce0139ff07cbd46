"""Anki's review log becomes past sessions: which answers, in which sessions, under which uuids."""

import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cli.imports import Anki, AnkiError, AnkiReview, PlannedImport, past_sessions, read_anki
from shared.errors import ConfigurationError
from tests.anki_files import BASIC, CLOZE, CREATED, write

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 29, tzinfo=UTC)
KEYS = {"q1": 2, "q2": 0}
NOTES = [(101, BASIC, "<b>q1</b>&nbsp;"), (102, CLOZE, "q2"), (103, BASIC, "other"), (104, BASIC, "")]


def ms(minutes: float) -> int:
    return int((START + timedelta(minutes=minutes)).timestamp() * 1000)


@pytest.mark.parametrize("form", ["anki2", "anki21", "anki21b"])
def test_reviews_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    reviews = [(ms(n), card, 1 + n) for n, card in enumerate((101, 102, 103, 104))]
    file = write(tmp_path / "deck.apkg", NOTES, [*reviews, (ms(9), 999, 3)], form)
    found = read_anki(file, field="Code", mapping=None)
    assert found.created == CREATED
    assert [(each.ease, each.pub_id) for each in found.reviews] == [
        (1, "q1"),
        (2, "q2"),
        (3, "other"),
        (4, ""),
        (3, ""),
    ]


@pytest.mark.parametrize("column", ["card_id", "note_id", "guid"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_the_questions_of_cards_or_notes(tmp_path: Path, column: str, delimiter: str) -> None:
    file = write(tmp_path / "deck.apkg", NOTES, [(ms(0), 101, 3), (ms(1), 102, 3)])
    place = "g102" if column == "guid" else "102"
    mapping = f"pub_id,{column}\r\n q1 ,{place}\r\n".replace(",", delimiter).encode()
    assert [each.pub_id for each in read_anki(file, field=None, mapping=mapping).reviews] == ["", "q1"]


def grouped(*reviews: tuple[float, int, str], **changes: Any) -> PlannedImport:
    anki = Anki(CREATED, [AnkiReview(ms(minutes), ease, pub_id) for minutes, ease, pub_id in reviews])
    options = {"learner": 7, "gap": timedelta(minutes=30), "zone": UTC, "now": NOW} | changes
    return past_sessions(anki, KEYS, **options)


def test_each_button_is_an_answer() -> None:
    (upload,) = grouped((0, 1, "q1"), (1, 2, "q1"), (2, 3, "q1"), (3, 4, "q2")).uploads
    assert [(each["selected"], each["unsure"]) for each in upload["attempts"]] == [
        (None, False),
        (2, True),
        (2, False),
        (0, False),
    ]
    assert upload["attempts"][1]["answered_at"] == "2026-03-02T09:01:00+00:00"


def sizes(past: PlannedImport) -> list[int]:
    return [len(each["attempts"]) for each in past.uploads]


def test_a_session_ends_after_a_gap_or_with_the_study_date_or_when_it_is_full() -> None:
    assert sizes(grouped(*((n, 3, "q1") for n in (0, 29, 58, 88, 90)))) == [3, 2]
    night = ((19 * 60 - 1, 3, "q1"), (19 * 60, 3, "q1"))  # a minute before 4:00 UTC, and 4:00
    assert sizes(grouped(*night)) == [1, 1]
    assert sizes(grouped(*night, zone=ZoneInfo("Asia/Seoul"))) == [2]
    assert sizes(grouped(*((n / 60, 3, "q1") for n in range(1001)))) == [500, 500, 1]


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    past = grouped((0, 0, "q1"), (1, 3, ""), (2, 3, "unknown"), (3, 3, "q1"), (4, 5, "q1"))
    assert sizes(past) == [1]
    assert past.left_out == {
        "without an answer or a plausible time": 2,
        "without a question": 1,
        "unknown to the catalog": 1,
        "in a session that may go on": 0,
    }


def test_a_session_that_may_go_on_waits_for_the_next_import() -> None:
    reviews = [(0.0, 3, "q1"), (60.0, 3, "q1"), (61.0, 3, "q2")]
    before = grouped(*reviews, now=START + timedelta(minutes=90))
    assert (sizes(before), before.left_out["in a session that may go on"]) == ([1], 2)
    after = grouped(*reviews, now=START + timedelta(minutes=91))
    assert sizes(after) == [1, 2]
    assert after.uploads[0] == before.uploads[0]


def test_uuids_are_of_the_learner_the_collection_and_the_first_review() -> None:
    def uuids(*reviews: tuple[float, int, str], **changes: Any) -> set[str]:
        return {each["client_session_uuid"] for each in grouped(*reviews, **changes).uploads}

    first = uuids((0, 3, "q1"))
    assert first == uuids((0, 3, "q1"), (1, 3, "q2")) == uuids((0, 3, "unknown"), (1, 3, "q2"))
    assert not first & uuids((1, 3, "q1"))
    assert not first & uuids((0, 3, "q1"), learner=8)


def test_what_is_no_export_of_anki_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deck.apkg"
    file.write_bytes(b"PK")
    with pytest.raises(AnkiError, match=r"cannot be read .*: export it from Anki again"):
        read_anki(file, field="Code", mapping=None)
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("media", "{}")
    with pytest.raises(AnkiError, match="contains no Anki collection"):
        read_anki(file, field="Code", mapping=None)
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("collection.anki2", "no database")
    with pytest.raises(AnkiError, match="cannot be read"):
        read_anki(file, field="Code", mapping=None)
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("collection.anki21b", "not packed")
    with pytest.raises(AnkiError, match="cannot be read"):
        read_anki(file, field="Code", mapping=None)
    write(file, NOTES, [])
    with pytest.raises(
        AnkiError, match="no note type has the field 'code': choose one of Code, Extra, Front, Text"
    ):
        read_anki(file, field="code", mapping=None)
    for mapping in (b"", b"card_id,pub_id\n", b"card;pub_id\n1;q1\n", b"guid\ng1\n"):
        with pytest.raises(
            AnkiError, match="needs rows, the column pub_id, and one of the columns card_id, note_id, guid"
        ):
            read_anki(file, field=None, mapping=mapping)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigurationError, match="needs zstandard: run `uv sync --extra anki`"):
        read_anki(file, field="Code", mapping=None)
