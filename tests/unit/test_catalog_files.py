"""A catalog as a table: however a spreadsheet writes it, and where each mistake is."""

import json
from typing import Any

import pytest

from shared.catalog_files import made_id, read
from shared.catalog_form import read_catalog
from shared.errors import CatalogError

HEADER = "pub_id;topic;subject;choices;key"
ROWS = ("q1;Anatomy;Bones;femur|tibia|ulna;B", 'q2;Anatomy;"Joints; moving";"yes, both\nno";A')
TABLE = "\r\n".join([HEADER, *ROWS, ""])


def table(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows]).encode()


JSON = {
    "users": [{"id": 7}],
    "topics": [{"id": made_id("topic", 7, "Anatomy"), "user_id": 7, "name": "Anatomy"}],
    "questions": [
        {
            "id": made_id("question", pub_id),
            "user_id": 7,
            "study_topic_id": made_id("topic", 7, "Anatomy"),
            "subject": subject,
            "pub_id": pub_id,
            "choices": choices,
            "correct_choice": key,
        }
        for pub_id, subject, choices, key in (
            ("q1", "Bones", ["femur", "tibia", "ulna"], 1),
            ("q2", "Joints; moving", ["yes, both", "no"], 0),
        )
    ],
}


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.replace("\r\n", "\n"),
        TABLE.replace("\r\n", "\r"),
        TABLE.replace(";B\r", ";b\r").replace(";A\r", ";1\r"),
        TABLE.replace(";B\r", ";2\r").replace(";A\r", ";yes, both\r"),
        TABLE.replace(";B\r", ";tibia\r"),
        f"\r\n{TABLE};;;;\r\n\r\n",
        TABLE.replace("femur|tibia|ulna", '" femur | tibia | ulna "'),
        TABLE.replace("pub_id;topic", "Pub_ID; Topic "),
        TABLE.replace("Joints; moving", "Joints\0 moving").replace(";", "\t").replace("\0", ";"),
        TABLE.replace("Joints; moving", "Joints\0 moving").replace(";", ",").replace("\0", ";"),
    ],
)
def test_a_table_says_the_same_as_json_however_it_is_written(table: str) -> None:
    assert read(table.encode(), learner=7).catalog == read_catalog(json.dumps(JSON).encode())


def test_a_table_may_name_learners_and_ids_of_its_own() -> None:
    rows = ("q1;Anatomy;Bones;yes|no;A;8;110;11", "q1b;Anatomy;Bones;no|yes;B;8;110;11")
    catalog = read(table(*rows, header=f"{HEADER};learner;id;topic_id"), learner=7).catalog
    assert [(each.id, each.user_id, each.study_topic_id) for each in catalog.questions] == [(110, 8, 11)] * 2
    assert [user.id for user in catalog.users] == [8]
    assert [topic.id for topic in catalog.topics] == [11]


def test_a_topic_may_be_named_by_the_command_alone() -> None:
    catalog = read(b"pub_id,subject,choices,key\nq1,Bones,yes|no,A", learner=7, topic="Anatomy").catalog
    assert [topic.name for topic in catalog.topics] == ["Anatomy"]


def test_a_quiz_without_subjects_takes_as_many_characters_of_the_topic_as_a_subject_may_have() -> None:
    quiz = (
        "<quiz><question type='multichoice'><idnumber>q1</idnumber>"
        "<answer fraction='100'><text>yes</text></answer><answer><text>no</text></answer></question></quiz>"
    )
    (asked,) = read(quiz.encode(), learner=7, topic="t" * 500).catalog.questions
    assert asked.subject == "t" * 120


def test_made_ids_are_stable_and_exact_in_javascript() -> None:
    assert made_id("question", "q1") == 5000367693046220
    assert all(2**52 <= made_id("question", n) < 2**53 for n in range(1000))


GOOD = "q1;T;S;a|b;A"
MULTILINE = 'q2;T;S;"a\nb\nc";A'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            table(GOOD, "q2;T;S;a|b;C"),
            "line 3, column key: 'C' names none of the 2 choices: write the right choice's letter",
        ),
        (table("q2;T;S;a|b;0"), r"line 2, column key: '0' names none .*1 is the first"),
        (
            table("q2;T;S;2|1;1"),
            "line 2, column key: '1' may mean choice 1 or 2: write the letter of the right choice",
        ),
        (
            table("q2;T;S;B|A;A"),
            "line 2, column key: 'A' may mean choice 1 or 2: write the number of the right choice",
        ),
        (
            table("q2;T;S;a|a;a"),
            "line 2, column key: 'a' may mean choice 1 or 2: write the number of the right choice",
        ),
        (table(MULTILINE, "q3;T;S;a;A"), "line 5, column choices: has one choice: between two choices"),
        (table("q2;T;S;a||b;A"), "line 2, column choices: has an empty choice"),
        (table("q2;T;;a|b;A"), "line 2, column subject: is empty: fill it in"),
        (table(";T;S;a|b;A"), "line 2, column pub_id: is empty"),
        (table(MULTILINE, "", GOOD, "q1;T;S;a|b;B"), "line 7, column pub_id: q1 is in line 6, too"),
        (
            table(GOOD, "q2;T;S;a|b,c;A;"),
            "line 3: 6 cells for 5 columns: write one cell per column, and quote a cell that holds ';'",
        ),
        (table(GOOD, 'q2;T;"S;a|b;A', GOOD), "line 3: unexpected end of data: correct the quotes"),
        (table(f"q2;T;{'s' * 121};a|b;A"), "line 2, column subject: String should have at most 120"),
        (table(f"{'q' * 201};T;S;a|b;A"), "line 2, column pub_id: Value should have at most 200"),
        (table("q\0;T;S;a|b;A"), "line 2, column pub_id: .*NUL"),
        (table("q2;T;S;a|b;A;x", header=f"{HEADER};id"), "line 2, column id: is not a whole number above 0"),
        (table(f"q2;T;S;a|b;A;{2**63}", header=f"{HEADER};id"), "line 2, column id: .*less than"),
        (table("q2;T;S;a|b;A;0", header=f"{HEADER};learner"), "line 2, column learner: is not a whole"),
        (table(header="pub_id;topic;choices;key"), r"line 1: the column subject is missing \(';' ends"),
        (table(header=f"{HEADER};note"), "line 1, column note: is not known: delete it"),
        (table(header=f"{HEADER};key"), "line 1, column key: appears more than once"),
        (
            table("q1;T;S;a|b;A;5", "q2;U;S;a|b;A;5", header=f"{HEADER};topic_id"),
            "line 3, column topic: .*line 2",
        ),
        (b"\xff", "line 1: not UTF-8: save the file as UTF-8"),
        (table(GOOD, "q2;T;S;\xe9|b;A").decode().encode("latin-1"), "line 3: not UTF-8"),
    ],
)
def test_each_mistake_of_a_table_has_its_line_column_cause_and_remedy(content: bytes, complaint: str) -> None:
    with pytest.raises(CatalogError, match=f"^{complaint}"):
        read(content, learner=7)


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(CatalogError) as refused:
        read(table("q1;T;;a|b;A", "q2;T;S;a;A", "q3;T;S;a|b;9"), learner=7)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "line 2, column subject",
        "line 3, column choices",
        "line 4, column key",
    ]


def test_a_table_without_learner_needs_the_option() -> None:
    with pytest.raises(CatalogError, match=r"the column learner is missing .*: add it, or give --learner"):
        read(TABLE.encode())


@pytest.mark.parametrize("options", [{"learner": 7}, {"topic": "T"}])
def test_json_takes_no_options(options: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match="leave out --learner and --topic"):
        read(b"{}", **options)
