"""Share overdue uploads out among rings."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from shared.uploads.tries import Overdue


def share_out(overdue: Sequence[Overdue], size: int) -> Iterator[list[UUID]]:
    """Name up to `size` uploads in one ring, but each that was started in vain alone.

    It may kill its worker again, and would take along those that are named after it.
    """
    fresh = [upload for upload, tries in overdue if tries <= 1]
    for first in range(0, len(fresh), size):
        yield fresh[first : first + size]
    yield from ([upload] for upload, tries in overdue if tries > 1)
