"""Read the questions of a quiz: Moodle's XML or QTI, as a file or in a package (zip).

Only single-choice questions can be asked; the others are marked.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from typing import NamedTuple
from xml.etree import ElementTree as ET

from shared.errors import CatalogError

LARGEST_PACKAGE = 512 * 2**20  # bytes of XML
# The errors if a package is damaged, locked by a password, or compressed by an unknown method.
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError)
FULL_MARK = re.compile(r"\s*100(\.0*)?\s*")  # per cent


class Question(NamedTuple):
    """A question, with its key as an index; `wrong` says why it cannot be asked, and is empty if it can."""

    place: str
    pub_id: str
    choices: list[str]
    key: int
    topic: str = ""
    subject: str = ""
    wrong: str = ""


def read_questions(content: bytes) -> Iterator[Question]:
    """Yield every question of a quiz; raise CatalogError if it cannot be read or has none."""
    found = False
    for name, document in _documents(content):
        try:
            parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314  # without a DOCTYPE, no entities
            root = ET.fromstring(document, parser)  # noqa: S314  # as above
        except (ET.ParseError, LookupError, ValueError) as error:  # LookupError, ValueError: unknown encoding
            raise CatalogError(f"{name} cannot be read as XML: {error}: export it again") from None
        for question in _moodle(root) if root.tag == "quiz" else _qti(root):
            found = True
            yield question
    if not found:
        raise CatalogError(
            "the quiz has no question: neither a <question> of Moodle (categories do not count)"
            " nor an item of QTI"
        )


def _documents(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each XML document of a package (zip), or the file itself, with a name."""
    if not content.startswith(b"PK"):
        yield "the file", content
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            if "xl/workbook.xml" in package.namelist():
                raise CatalogError("this is a workbook of Excel: save it as CSV UTF-8")
            files = [each for each in package.infolist() if each.filename.lower().endswith(".xml")]
            if sum(each.file_size for each in files) > LARGEST_PACKAGE:
                raise CatalogError(f"the package has more than {LARGEST_PACKAGE >> 20} MiB of XML: split it")
            yield from ((each.filename, package.read(each)) for each in files)
    except UNREADABLE as error:
        raise CatalogError(
            f"the package cannot be read ({error}): export it again, without a password"
        ) from None


class _NoDoctype(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Refuse a document type: it can define entities that grow without end."""
        raise CatalogError("a DOCTYPE is not accepted: remove it")


def _moodle(quiz: ET.Element) -> Iterator[Question]:
    """Yield the questions of a quiz of Moodle; a category applies to the questions that follow it.

    The form is described at https://docs.moodle.org/en/Moodle_XML_format.
    """
    topic = subject = ""
    for number, question in enumerate(quiz.iter("question"), start=1):
        kind = question.get("type", "")
        if kind == "category":
            # `$course$/top/Chapter/Section`; a slash within a name is doubled.
            path = re.split(r"(?<!/)/(?!/)", question.findtext("category/text", ""))
            names = [each.replace("//", "/") for each in path if each != "top" and not each.startswith("$")]
            topic, subject = (names[0], names[-1]) if names else ("", "")
            continue
        pub_id = question.findtext("idnumber", "").strip()
        answers = question.findall("answer")
        right = [n for n, each in enumerate(answers) if FULL_MARK.fullmatch(each.get("fraction", ""))]
        wrong = ""
        if kind not in {"multichoice", "truefalse"}:
            wrong = f"of the type {kind}: not a single-choice question"
        elif kind == "multichoice" and question.findtext("single", "true").strip() not in {"true", "1"}:
            wrong = "several choices can be right"
        elif not pub_id:
            wrong = "has no ID number: enter one in Moodle; viewers send it as the public id"
        texts = [each.findtext("text", "").strip() for each in answers]
        place = f"question {number} ({pub_id or question.findtext('name/text', '').strip()})"
        yield _question(place, pub_id, texts, right, topic, subject, wrong)


def _qti(root: ET.Element) -> Iterator[Question]:
    """Yield questions of QTI 3 (names like `qti-choice-interaction`) or 2 (like `choiceInteraction`)."""
    for element in root.iter():
        _, _, tag = element.tag.rpartition("}")
        element.tag = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", tag).lower().removeprefix("qti-")
    for item in root.iter("assessment-item"):
        pub_id = item.get("identifier", "")
        kinds = [each.tag for each in item.iter() if each.tag.endswith("-interaction")]
        choices = [*item.iter("simple-choice")]
        declared = [each for each in item.iter("response-declaration") if each.get("cardinality") == "single"]
        values = {value.text and value.text.strip() for each in declared for value in each.iter("value")}
        wrong = ""
        if kinds != ["choice-interaction"]:
            wrong = f"{' and '.join(kinds) or 'no interaction'}: not a single-choice question"
        elif not declared:
            wrong = "several choices can be right, or no right choice is declared"
        texts = [" ".join("".join(each.itertext()).split()) or each.get("identifier", "") for each in choices]
        right = [number for number, each in enumerate(choices) if each.get("identifier") in values]
        yield _question(f"item {pub_id}", pub_id, texts, right, "", "", wrong)


def _question(  # noqa: PLR0913, PLR0917  # what both forms have
    place: str, pub_id: str, choices: list[str], right: list[int], topic: str, subject: str, wrong: str
) -> Question:
    if not wrong and (len(right) != 1 or len(choices) < 2):  # noqa: PLR2004  # a choice needs two
        wrong = f"{len(choices)} choices, {len(right)} of them right: not a single-choice question"
    return Question(place, pub_id, choices, right[0] if right else -1, topic, subject, wrong)
