"""Which uploads share a message."""

from uuid import UUID

from shared.retries import Overdue, split_into_messages

IDS = [UUID(int=number) for number in range(7)]


def test_new_uploads_share_messages_in_their_order() -> None:
    fresh = [Overdue(upload, number % 2) for number, upload in enumerate(IDS)]  # 0: an operator set it back
    assert list(split_into_messages(fresh, 3)) == [IDS[:3], IDS[3:6], IDS[6:]]


def test_I9_an_upload_that_failed_before_has_a_message_of_its_own() -> None:
    overdue = [Overdue(upload, 2 if upload == IDS[1] else 1) for upload in IDS[:4]]
    assert list(split_into_messages(overdue, 3)) == [[IDS[0], IDS[2], IDS[3]], [IDS[1]]]


def test_without_overdue_uploads_there_is_no_message() -> None:
    assert list(split_into_messages([], 3)) == []
