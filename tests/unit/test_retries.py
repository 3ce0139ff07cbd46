"""Which uploads share a message."""

from uuid import UUID

from shared.retries import Overdue, split_into_messages

IDS = [UUID(int=number) for number in range(7)]


def test_fresh_uploads_share_rings_in_their_order() -> None:
    fresh = [Overdue(upload, number % 2) for number, upload in enumerate(IDS)]  # 0: given another chance
    assert list(split_into_messages(fresh, 3)) == [IDS[:3], IDS[3:6], IDS[6:]]


def test_I9_what_was_started_in_vain_takes_no_neighbour_along() -> None:
    overdue = [Overdue(upload, 2 if upload == IDS[1] else 1) for upload in IDS[:4]]
    assert list(split_into_messages(overdue, 3)) == [[IDS[0], IDS[2], IDS[3]], [IDS[1]]]


def test_nothing_overdue_rings_for_nothing() -> None:
    assert list(split_into_messages([], 3)) == []
