"""Classify failures, and describe them without quoting a learner's answers.

Only the functions that need SQLAlchemy import it. Flower describes failures, too, but uses no database: with
SQLAlchemy and psycopg it would take 10 MiB more.
"""

import traceback
from pathlib import Path

from shared.errors import OvertakenError, StudyIngestError

ROOT = Path(__file__).resolve().parent.parent

# Our fixed SQL is sent from shared/db.py, so a frame in that file does not show the place of a failure.
_SENDER = ROOT / "shared/db.py"

# Faults that are not the upload's own, by SQLSTATE. The classes are, in this order: lost connections;
# prepared statements that a pooler lost; serialization and deadlocks; a statement that does not fit the
# role's grants or the schema, which may be that of another release; resources; shutdown and start. The single
# codes are: lock timeout, a standby, plans from before a migration. The idle timeout is left out: it ends
# the transaction of a replay that computes for too long, and then the fault is the upload's own.
_TRANSIENT_CLASSES = ("08", "26", "40", "42", "53", "57P")
_READ_ONLY = "25006"
_TRANSIENT = frozenset({"55P03", _READ_ONLY, "0A000"})


def is_transient(error: BaseException) -> bool:
    """Return whether a failure is a transient fault: after it, a repeated start does not count as a try."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # see above

    if isinstance(error, OvertakenError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    if not state:
        return error.connection_invalidated
    return state in _TRANSIENT or state.startswith(_TRANSIENT_CLASSES)


def is_away(error: BaseException) -> bool:
    """Return whether a statement failed because no writable Postgres could be reached."""
    from sqlalchemy.exc import DBAPIError, OperationalError  # noqa: PLC0415  # see above

    if isinstance(error, OperationalError):
        return error.connection_invalidated or not _sqlstate(error)
    return isinstance(error, DBAPIError) and _sqlstate(error) == _READ_ONLY


def describe(error: BaseException) -> str:
    """Describe a failure by its type, SQLSTATE and innermost place in our code; quote only our own texts."""
    parts = [type(error).__name__, _sqlstate(error)]
    if isinstance(error, StudyIngestError):
        parts.append(str(error))
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT)
        and "site-packages" not in frame.filename
        and Path(frame.filename) != _SENDER
    ]
    if ours:
        parts.append(f"at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} {ours[-1].name}")
    return " ".join(filter(None, parts))


def _sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of the driver's error inside an error of SQLAlchemy; empty if there is none."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""
