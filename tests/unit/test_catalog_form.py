"""What a catalog file may not say."""

import json
from typing import Any

import pytest

from shared.catalog_form import read_catalog
from shared.errors import CatalogError
from tests.factories import question

EDITION = {"pub_id": "q", "choices": ["yes", "no"], "correct_choice": 0}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"pub_id": "q\0"}, "/questions/0/editions/0/pub_id: .*NUL"),
        ({"subject": "\0"}, "/questions/0/subject: .*NUL"),
        ({"choices": ["yes", "n\0"]}, "/questions/0/editions/0/choices/1: .*NUL"),
        ({"retired_at": "2026-01-01T00:00:00"}, "/questions/0/retired_at: .*timezone"),
        ({"pub_id": ""}, "/questions/0/editions/0/pub_id: .*at least 1"),
        ({"pub_id": "q\ud800"}, "/questions/0/editions/0/pub_id: .*lone surrogate"),
        ({"choices": ["yes", "a\ud83d"]}, "/questions/0/editions/0/choices/1: .*lone surrogate"),
        ({"published_at": "20261122"}, "/questions/0/editions/0/published_at: .*begins with a date"),
        ({"retired_at": "1767225600"}, "/questions/0/retired_at: .*begins with a date"),
        ({"pub_id": "\u2003"}, "/questions/0/editions/0/pub_id: .*not a space"),
        ({"correct_choice": 9}, "/questions/0/editions/0: .*is not the index of a choice"),
        ({"choices": ["a"] * 32769, "correct_choice": 32768}, "/questions/0/editions/0/choices: .*at most"),
        ({"exam_frequency": 1e200}, "/questions/0/exam_frequency: .*less than or equal"),
        ({"retired_at": "9999-12-31T23:59:59-05:00"}, "/questions/0/retired_at: .*the year 1 to 9999 in UTC"),
        ({"published_at": "0001-01-01T00:00:00+09:00"}, "/questions/0/.*/published_at: .*the year 1 to 9999"),
        ({"editions": []}, "/questions/0/editions: .*at least 1"),
        ({"editions": [EDITION]}, "/questions/0/pub_id: .*not permitted"),
    ],
)
def test_each_mistake_is_named_with_its_place(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CatalogError, match=complaint):
        read_catalog(json.dumps({"questions": [question(110) | change]}).encode())


FLAT = '{"id": 110, "pub_id": "q110", "correct_choice": 0, "choices": ["a", "b"], "correct_choice": 1}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f'{{"questions": [{FLAT}]}}', "the member correct_choice of q110: appears more than once"),
        ('{"topics": [{"id": 7, "id": 8}]}', "the member id of 8: appears more than once"),
        ('{"users": [], "users": []}', "the member users of the catalog: appears more than once"),
        ('{"users": [\n{"id": 1},\n]}', "line 3, column 1: "),
        ('{"users": [\n{"id": \xff}]}', "line 2: not UTF-8: save the file as UTF-8"),
        ("[" * 100_000, "the catalog nests too deeply: check its brackets"),
        ("", "line 1, column 1: "),
        ("[]", "^/: "),
        ('{"questions": [{"id": 1, "exam_frequency": NaN}]}', "/questions/0/exam_frequency: .*finite"),
    ],
)
def test_a_file_that_says_two_things_or_nothing_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(CatalogError, match=complaint):
        read_catalog(text.encode("latin-1"))
