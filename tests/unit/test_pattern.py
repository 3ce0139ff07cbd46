"""What the last answer of a story says about where the learner stood."""

import pytest

from shared.study.progress import classify, fold
from tests.reviews import SEOUL, told


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("c", "newly_correct"),
        ("wc", "newly_correct"),
        ("wwwc", "newly_correct"),
        ("rc", "newly_correct"),
        ("nrc", "newly_correct"),
        ("cc", None),
        ("crc", None),
        ("cwrc", None),
        ("wcc", None),
        ("cwc", "recovered"),
        ("cnc", "recovered"),
        ("cwwwc", "recovered"),
        ("crwc", "recovered"),
        ("cw", "relapsed"),
        ("cn", "relapsed"),
        ("ccw", "relapsed"),
        ("wwwcw", "relapsed"),
        ("w", None),
        ("n", None),
        ("ww", None),
        ("crw", None),
        ("cww", None),
        ("www", "chronic"),
        ("wnn", "chronic"),
        ("wwww", "chronic"),
        ("cwww", "chronic"),
        ("rwww", "chronic"),
        ("wwrw", None),
        ("wwrww", None),
        ("wwrwww", "chronic"),
        ("wwcww", None),
        ("r", None),
        ("cr", None),
        ("wwr", None),
        ("wwwr", None),
        ("cwr", None),
    ],
)
def test_the_pattern_of_the_last_answer(story: str, expected: str | None) -> None:
    *before, last = told(story)
    assert classify(fold(before, SEOUL), last) == expected
