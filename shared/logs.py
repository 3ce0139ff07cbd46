"""Logs: one JSON line for each event, with a static name and fields; no payload, token or SQL statement."""

import io
import logging
import os
import sys
import traceback
from typing import Any

import structlog
from pydantic_core import to_json

from shared.failures import describe

STDERR = 2


def _place(exc_info: structlog.typing.ExcInfo) -> list[str]:
    """Return an exception's description and stack.

    The text of an error that is not a StudyIngestError is left out, since it may quote values.
    """
    _, error, _ = exc_info
    frames = traceback.extract_tb(error.__traceback__)
    return [describe(error), *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]


_STAMPED: list[structlog.types.Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(_place),
]


class _Output(io.RawIOBase):
    """Standard error that never raises: lines that cannot be written are dropped and counted.

    Python's own stream raises on a full disk, and then at every later line, as it keeps the unwritten text.
    """

    def __init__(self) -> None:
        self._dropped = 0
        self._is_torn = False

    def writable(self) -> bool:
        return True

    def write(self, line: Any) -> int:
        """Write a line, after a note on dropped lines if there are any; if this fails, drop the line."""
        size = len(line)
        try:
            if self._dropped:
                note = {"event": "log.dropped", "level": "error", "lines": self._dropped}
                self._write(b"\n" * self._is_torn + to_json(note) + b"\n")
                self._dropped = 0
            self._write(line)
        except OSError:
            self._dropped += 1
        return size

    def _write(self, line: Any) -> None:
        self._is_torn = True
        while line:
            line = line[os.write(STDERR, line) :]
        self._is_torn = False


# Lines of these loggers quote messages of the queue, or exceptions that quote such messages. The messages may
# come from a stranger.
_QUOTING = ("kombu", "celery.worker.pidbox", "celery.worker.control")


def _unquote(record: logging.LogRecord) -> bool:
    """Replace the values in a line of the loggers in _QUOTING by the names of their types; integers stay."""
    if record.args and record.name.startswith(_QUOTING):
        # logging takes a single mapping out of its tuple.
        values = record.args if isinstance(record.args, tuple) else (record.args,)
        record.args = tuple(each if isinstance(each, int) else type(each).__name__ for each in values)
    return True


def configure_logs(level: int = logging.INFO) -> None:
    """Set up logging for a process, including the lines of libraries; call it once, at the start."""
    sys.stderr = io.TextIOWrapper(_Output(), write_through=True, errors="backslashreplace")
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_STAMPED],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    handler.addFilter(_unquote)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Our own lines do not pass through `logging`, which would take three times as long for each.
    structlog.configure(
        processors=[
            *_STAMPED,
            structlog.processors.JSONRenderer(serializer=lambda event, **_: to_json(event, fallback=repr)),
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
