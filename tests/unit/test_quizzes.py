"""Quizzes of Moodle and in QTI: their single-choice questions, and why others are left out."""

import io
import zipfile

import pytest

from shared.catalog_files import read
from shared.errors import CatalogError


def moodle(*questions: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<quiz>{"".join(questions)}</quiz>'.encode()


def category(path: str) -> str:
    return f'<question type="category"><category><text>{path}</text></category></question>'


def multichoice(pub_id: str, fractions: str = "0 100 -50", *, single: str = "true", kind: str = "") -> str:
    answers = "".join(
        f'<answer fraction="{each}" format="html"><text><![CDATA[<p>choice {n}</p>]]></text></answer>'
        for n, each in enumerate(fractions.split())
    )
    return f"""<question type="{kind or "multichoice"}"><name><text>A name</text></name>
        <questiontext format="html"><text>Which?</text></questiontext>
        <idnumber>{pub_id}</idnumber><single>{single}</single>{answers}</question>"""


CHOICES = ["<p>choice 0</p>", "<p>choice 1</p>", "<p>choice 2</p>"]


def test_single_choices_of_moodle_are_read_with_their_category() -> None:
    found = read(
        moodle(
            category("$course$/top/Anatomy/Bones//joints"),
            multichoice("q1"),
            multichoice("q2", "100.00000 50 0", single="1"),
            category("$course$/top/Physiology"),
            multichoice("q3", "100 0", kind="truefalse"),
        ),
        learner=7,
    )
    assert [topic.name for topic in found.catalog.topics] == ["Anatomy", "Physiology"]
    assert [(q.subject, e.pub_id, e.choices, e.correct_choice) for q, e in found.catalog.editions] == [
        ("Bones/joints", "q1", CHOICES, 1),
        ("Bones/joints", "q2", CHOICES, 0),
        ("Physiology", "q3", CHOICES[:2], 0),
    ]
    assert found.skipped == []


def test_other_questions_of_moodle_are_listed_with_the_reason() -> None:
    questions = [
        multichoice("q1"),
        multichoice("q2", "50 50 0", single="false"),
        multichoice("q3", "50 50 0"),
        multichoice("q4", "100"),
        multichoice("q5", kind="essay"),
        multichoice(""),
    ]
    found = read(moodle(*questions), learner=7, topic="Anatomy")
    assert [edition.pub_id for _, edition in found.catalog.editions] == ["q1"]
    assert found.skipped == [
        "question 2 (q2): several choices can be right",
        "question 3 (q3): 3 choices, 0 of them right: not a single-choice question",
        "question 4 (q4): 1 choices, 1 of them right: not a single-choice question",
        "question 5 (q5): of the type essay: not a single-choice question",
        "question 6 (A name): has no ID number: enter one in Moodle; viewers send it as the public id",
    ]


QTI_3 = """<?xml version="1.0" encoding="UTF-8"?>
<qti-assessment-item xmlns="http://www.imsglobal.org/xsd/imsqtiasi_v3p0" identifier="q1" title="Unattended"
    adaptive="false" time-dependent="false">
  <qti-response-declaration identifier="RESPONSE" cardinality="single" base-type="identifier">
    <qti-correct-response><qti-value>ChoiceB</qti-value></qti-correct-response>
  </qti-response-declaration>
  <qti-item-body>
    <qti-choice-interaction response-identifier="RESPONSE" shuffle="false" max-choices="1">
      <qti-prompt>What does it say?</qti-prompt>
      <qti-simple-choice identifier="ChoiceA">You must <b>stay</b> with your luggage.</qti-simple-choice>
      <qti-simple-choice identifier="ChoiceB"><img src="b.png" alt=""/></qti-simple-choice>
    </qti-choice-interaction>
  </qti-item-body>
</qti-assessment-item>"""
QTI_2 = """<assessmentItem xmlns="http://www.imsglobal.org/xsd/imsqti_v2p1" identifier="q2">
  <responseDeclaration identifier="RESPONSE" cardinality="single" baseType="identifier">
    <correctResponse><value>A</value></correctResponse></responseDeclaration>
  <itemBody><choiceInteraction responseIdentifier="RESPONSE" maxChoices="1">
    <simpleChoice identifier="A">yes</simpleChoice><simpleChoice identifier="B">no</simpleChoice>
  </choiceInteraction></itemBody></assessmentItem>"""


def package(*documents: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("imsmanifest.xml", "<manifest/>")
        file.writestr("images/b.png", b"\x89PNG")
        for number, document in enumerate(documents):
            file.writestr(f"items/{number}.xml", document)
    return packed.getvalue()


def test_items_of_qti_are_read_alone_or_from_a_package() -> None:
    found = read(package(QTI_3, QTI_2), learner=7, topic="Travel")
    assert [(e.pub_id, e.choices, e.correct_choice) for _, e in found.catalog.editions] == [
        ("q1", ["You must stay with your luggage.", "ChoiceB"], 1),
        ("q2", ["yes", "no"], 0),
    ]
    assert {question.subject for question in found.catalog.questions} == {"Travel"}
    alone = read(QTI_3.encode(), learner=7, topic="Travel").catalog
    assert alone.questions == found.catalog.questions[:1]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            QTI_3.replace('cardinality="single"', 'cardinality="multiple"'),
            "several choices can be right, or no right choice is declared",
        ),
        (
            QTI_3.replace("choice-interaction", "order-interaction"),
            "order-interaction: not a single-choice question",
        ),
        (QTI_3.replace("choice-interaction", "div"), "no interaction: not a single-choice question"),
        (QTI_3.replace("<qti-value>ChoiceB", "<qti-value>Other"), "2 choices, 0 of them right"),
    ],
)
def test_other_items_of_qti_are_listed_with_the_reason(changed: str, reason: str) -> None:
    found = read(package(changed, QTI_2), learner=7, topic="Travel")
    assert [edition.pub_id for _, edition in found.catalog.editions] == ["q2"]
    assert [line.startswith(f"item q1: {reason}") for line in found.skipped] == [True]


BOMB = '<!DOCTYPE quiz [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><quiz><question>&b;</question></quiz>'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (BOMB.encode(), "a DOCTYPE is not accepted"),
        (f'<?xml version="1.0" encoding="cp037"?>{BOMB}'.encode("cp037"), "line 1: not UTF-8"),
        (package(BOMB), "a DOCTYPE is not accepted"),
        (
            b"<quiz><question>",
            "the file cannot be read as XML: no element found: line 1, column 16: export it again",
        ),
        (b'<?xml version="1.0" encoding="no"?><quiz/>', "the file cannot be read as XML: unknown encoding"),
        (b"<quiz/>", "the quiz has no question"),
        (b"<html/>", "the quiz has no question"),
        (package(), "the quiz has no question"),
        (package(QTI_3)[:-30], "the package cannot be read"),
        (QTI_3.encode(), "item q1: names no topic: give --topic"),
    ],
)
def test_what_is_no_quiz_is_refused_with_the_remedy(content: bytes, complaint: str) -> None:
    with pytest.raises(CatalogError, match=f"^{complaint}"):
        read(content, learner=7)


def test_a_workbook_is_to_be_saved_as_csv() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(CatalogError, match="save it as CSV UTF-8"):
        read(packed.getvalue(), learner=7)
