"""Tell failures apart, and tell of them without a word of the learner's."""

import traceback
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from shared.errors import OvertakenError, StudyIngestError

ROOT = Path(__file__).resolve().parent.parent

# Every failed statement passes here: as a place it would say nothing.
_SENDER = ROOT / "shared/db.py"

# SQLSTATEs of faults that are not the upload's own: serialization, deadlock, lock timeout, too many
# connections, shutdown, crash, start-up; and the class of lost connections. Not the idle timeout: what thinks
# that long within its transaction is the upload's own replay.
_PASSING = frozenset({"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03"})
_CONNECTION_CLASS = "08"


def is_passing(error: BaseException) -> bool:
    """Tell whether a failure lies in the surroundings, so that it counts as no try."""
    if isinstance(error, OvertakenError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    if not state:
        return error.connection_invalidated
    return state in _PASSING or state.startswith(_CONNECTION_CLASS)


def is_away(error: BaseException) -> bool:
    """Tell whether a statement failed because its server was not there, or went: nothing was answered."""
    if not isinstance(error, OperationalError):
        return False
    return error.connection_invalidated or not _sqlstate(error)


def describe(error: BaseException) -> str:
    """Name a failure and its place in our code; of texts repeat only our own, since others quote values."""
    parts = [type(error).__name__]
    if isinstance(error, DBAPIError):
        parts.append(_sqlstate(error))
    if isinstance(error, StudyIngestError):
        parts.append(str(error))
    return " ".join(filter(None, [*parts, _place(error)]))


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _place(error: BaseException) -> str:
    """Return the innermost place in this project that the failure passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(ROOT)
        and "site-packages" not in frame.filename
        and Path(frame.filename) != _SENDER
    ]
    return f"at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} {ours[-1].name}" if ours else ""
