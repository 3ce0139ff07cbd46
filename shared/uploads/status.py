"""The life of an upload.

received ──► ingested    every effect is committed
    │  ▲
    │  └──── replayed by an operator, or superseded by other content where it was rejected
    ├──────► rejected    cannot succeed as things stand; `reason` says why
    └──────► dead        its tries are exhausted; `last_error` says of what
"""

from enum import StrEnum


class Status(StrEnum):
    """Name where an upload stands; every one but `received` is final."""

    RECEIVED = "received"
    INGESTED = "ingested"
    REJECTED = "rejected"
    DEAD = "dead"
