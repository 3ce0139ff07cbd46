"""Logs: one JSON line for each event, with a static name and fields; no payload, token or SQL statement."""

import logging
import sys
import traceback
from typing import Any

import structlog
from pydantic_core import to_json

from shared.failures import describe


def _place(exc_info: structlog.typing.ExcInfo) -> list[str]:
    """Name an exception and each place it passed; its text may quote a statement or a value."""
    _, error, _ = exc_info
    frames = traceback.extract_tb(error.__traceback__)
    return [describe(error), *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]


_STAMPED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(_place),
]


def configure_logs(level: int = logging.INFO) -> None:
    """Set up logging for a process, including the lines of libraries; call it once, in `main`."""
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_STAMPED],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Our own lines do not pass through `logging`, which would take three times as long for each.
    structlog.configure(
        processors=[*_STAMPED, structlog.processors.JSONRenderer(serializer=_serialize)],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def _serialize(event: dict[str, Any], **_: object) -> bytes:
    return to_json(event, fallback=repr)
