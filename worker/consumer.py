"""Read messages strictly: a message that does not have our form is refused.

Celery and kombu trust every message. A malformed message ended the worker, and each worker that was started
later (celery#7975). A forged header could change time limits, delay an upload for years, or make the worker
unpack gigabytes.
"""

import time
from collections.abc import Callable
from queue import Empty
from typing import Annotated, Any, Literal
from uuid import UUID

import kombu.transport
import structlog
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message, compression
from kombu.transport import redis
from pydantic import BaseModel, Field, TypeAdapter
from redis.exceptions import DataError, RedisError

from shared.broker import MESSAGE_SIZE

log = structlog.get_logger()

# Celery by itself would try to connect five times a second, with two lines in the log for each try.
REFUSED_PAUSE_S = 1.0
# Events of tasks wait this long, so that one message to Flower has several events. Celery by itself sends a
# message at each turn of its loop, which takes nearly half of the CPU of a worker's main process
# (docs/performance.md, "P2 alone").
EVENTS_PAUSE_S = 0.05


class _Headers(BaseModel):
    """The headers that Celery acts on; no other header of a message is passed to Celery."""

    task: Literal["replay_uploads"]
    id: UUID
    timelimit: tuple[None, None] | None = None
    eta: None = None
    expires: None = None
    compression: None = None


class _Route(BaseModel):
    """Where the message came from: kombu puts an unfinished message back there."""

    exchange: str
    routing_key: str


class _Options(BaseModel, extra="forbid"):
    again: bool = False


# Limited: a message with a hundred thousand uploads would exceed the time limit again and again, with a line
# in the log for each upload.
_Uploads = Annotated[list[UUID], Field(min_length=1, max_length=MESSAGE_SIZE)]
_BODY = TypeAdapter(tuple[_Uploads, _Options, dict[str, None] | None])


def _read(message: Message) -> dict[str, Any]:
    """Return the headers for Celery; raise ValueError if the message does not have our form."""
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        raise ValueError("not JSON in UTF-8")
    headers = _Headers.model_validate(message.headers)
    _Route.model_validate(message.delivery_info)
    uploads, options, _ = _BODY.validate_json(message.body or "")
    return {
        "lang": "py",
        "task": headers.task,
        "id": str(headers.id),
        "argsrepr": " ".join(map(str, uploads)),
        "kwargsrepr": repr(options.model_dump(exclude_defaults=True)),
    }


class Consumer(CeleryConsumer):
    """Pass on messages of our form, and refuse all others."""

    connection_errors: tuple[type[Exception], ...]
    hub: Any
    event_dispatcher: Any
    _events_due = 0.0

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], Any]:
        """Return the function that is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_message(message: Message) -> None:
            try:
                message.headers = _read(message)
            except ValueError:
                _refuse(message)
            else:
                handle(message)

        return on_message

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait before the next try, as the broker may refuse each try at once."""
        super().on_connection_error_before_connected(exc)
        time.sleep(REFUSED_PAUSE_S)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Prepare to connect again; wait if the broker answers, but refuses."""
        super().on_connection_error_after_connected(exc)
        if not isinstance(exc, self.connection_errors):
            time.sleep(REFUSED_PAUSE_S)

    def on_send_event_buffered(self) -> Any:
        """Send all events EVENTS_PAUSE_S after the first one, or earlier if the loop ends."""
        self.hub.on_close.add(self._send_events)
        # A time is stored, not a flag: Celery may cancel the timer, and the flag would stay set.
        if (now := time.monotonic()) >= self._events_due:
            self._events_due = now + EVENTS_PAUSE_S
            self.hub.call_later(EVENTS_PAUSE_S, self._send_events)

    def _send_events(self, *_: Any) -> None:
        self._events_due = 0.0
        if self.event_dispatcher:
            self.event_dispatcher.flush()

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Refuse a message that cannot be decoded; Celery would log all of it."""
        del exc
        _refuse(message)


def _refuse(message: Message) -> None:
    log.warning("task_message.refused")
    message.reject()


class _QoS(redis.QoS):
    def restore_by_tag(self, tag: str, *args: Any, **options: Any) -> None:
        """Give a message back to the queue; remove an entry that is no message: workers would fail at it."""
        try:
            super().restore_by_tag(tag, *args, **options)
        except (OSError, RedisError):  # an error of the connection
            raise
        except Exception:  # noqa: BLE001  # any error that an entry which is not a message may cause
            log.warning("task_message.refused")
            self._remove_from_indices(tag).execute()  # type: ignore[attr-defined]  # stub


class _RefusingReads:
    """Refuse entries of Redis that are not messages."""

    def _brpop_read(self, **options: Any) -> Any:
        return _read_or_refuse(super()._brpop_read, **options)  # type: ignore[misc]  # of the other base class

    def _receive(self) -> Any:
        return _read_or_refuse(super()._receive)  # type: ignore[misc]


def _read_or_refuse(read: Callable[..., Any], **options: Any) -> Any:
    try:
        return read(**options)
    except DataError:  # a tag is not a text: the client raises this before it sends anything
        log.warning("task_message.refused")
    except (Empty, OSError, RedisError):  # no message waits, or an error of the connection
        raise
    except Exception:  # noqa: BLE001  # any error that an entry which is not a message may cause
        log.warning("task_message.refused")
    return True


class _Channel(_RefusingReads, redis.Channel):
    QoS = _QoS


class _SentinelChannel(_RefusingReads, redis.SentinelChannel):
    QoS = _QoS


class Transport(redis.Transport):
    """Kombu's transport for Redis, which refuses entries that are not messages."""

    Channel = _Channel


class SentinelTransport(redis.SentinelTransport):
    """Kombu's transport for Redis behind Sentinel, which refuses entries that are not messages."""

    Channel = _SentinelChannel


def _refuse_compressed(_: bytes) -> bytes:
    raise ValueError("no message of ours is compressed")


def install(app: Any) -> None:
    """Make a worker's app use this module's consumer and transports, and refuse compressed messages."""
    app.conf.worker_consumer = f"{__name__}:Consumer"
    for name in ("redis", "rediss"):
        kombu.transport.TRANSPORT_ALIASES[name] = f"{__name__}:Transport"
    kombu.transport.TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
    for kind in compression.encoders():  # a body is unpacked before a consumer sees the message
        compression.register(_refuse_compressed, _refuse_compressed, kind)
