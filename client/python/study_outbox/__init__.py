"""Keep finished quiz sessions on disk until study-ingest has recorded them."""

from study_outbox.answer import Action, Answer, is_away, judge, pause_after, retry_after
from study_outbox.outbox import Event, InvalidSessionError, Outbox, Status, local_time
from study_outbox.store import Item, KnownSessionError

__all__ = [
    "Action",
    "Answer",
    "Event",
    "InvalidSessionError",
    "Item",
    "KnownSessionError",
    "Outbox",
    "Status",
    "is_away",
    "judge",
    "local_time",
    "pause_after",
    "retry_after",
]
