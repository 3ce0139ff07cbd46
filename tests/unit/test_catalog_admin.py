"""What a catalog file may not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.catalog_admin import read_catalog
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
        ({"correct_choice": 9}, "/questions/0/editions/0: .*is not the index of a choice"),
        ({"editions": []}, "/questions/0/editions: .*at least 1"),
        ({"editions": [EDITION]}, "/questions/0/pub_id: .*not permitted"),
    ],
)
def test_each_mistake_is_named_with_its_place(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps({"questions": [question(110) | change]}))
    with pytest.raises(CatalogError, match=complaint):
        read_catalog(path)
