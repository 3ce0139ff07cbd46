"""Keep finished quiz sessions on disk until study-ingest has recorded them."""

from study_outbox.answer import AWAY, Action, Answer, judge, pause_after, retry_after
from study_outbox.outbox import Event, InvalidSessionError, Outbox, Status, local_time
from study_outbox.store import Item, KnownSessionError

__all__ = [
    "AWAY",
    "Action",
    "Answer",
    "Event",
    "InvalidSessionError",
    "Item",
    "KnownSessionError",
    "Outbox",
    "Status",
    "judge",
    "local_time",
    "pause_after",
    "retry_after",
]
