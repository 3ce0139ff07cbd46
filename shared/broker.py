"""Enqueue uploads for the workers. The broker may lose or repeat messages: the row is the record."""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from celery import Celery
from kombu import Producer
from kombu.exceptions import ChannelError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.config import BrokerSettings, Sentinel, sentinel

REPLAY = "replay_uploads"
REPLAY_QUEUE = "replay"
# The limit of uploads in one message. Handling a message takes a worker half as long as a replay, so several
# uploads share a message. With more than ten, too many would have to be enqueued again when a worker is
# killed.
MESSAGE_SIZE = 10
AMQP = ("amqp://", "amqps://", "pyamqp://")

# By default Celery does not check the certificate (rediss), or does not check the name in it (amqps).
_REDIS_TLS = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
TLS: Mapping[str, dict[str, Any]] = {
    "rediss": _REDIS_TLS,
    "sentinels": _REDIS_TLS,
    "amqps": {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None},  # None: the host of the first URL
}

# At TASK_TIME_LIMIT the worker's child process is killed. At the soft limit, a share of that time, the child
# can still roll back, and record why.
SOFT_LIMIT_SHARE = 0.75
SOFT_SHUTDOWN_S = 10.0
CONNECT_TIMEOUT_S = 1.0
# More than one CONNECT_TIMEOUT_S: otherwise kombu gives up before it tries the next RabbitMQ of BROKER_URL.
CONNECT_RETRIES_S = 3.0
# A frozen broker never answers: without a limit every call would hang forever.
SENDER_SOCKET_TIMEOUT_S = 1.0
WORKER_SOCKET_TIMEOUT_S = 5.0


def make_celery(settings: BrokerSettings, *, worker: bool = False) -> Celery:
    """Make the Celery app of a sender, or of a worker."""
    address = sentinel(settings.broker_url)
    app = Celery(
        "study-ingest",
        broker=_sentinel_urls(address) if address else settings.broker_url,
        set_as_current=worker,
    )
    app.conf.update(
        task_acks_late=True,  # an early ack would lose what a killed worker had begun
        task_soft_time_limit=settings.task_time_limit * SOFT_LIMIT_SHARE,
        task_time_limit=settings.task_time_limit,
        worker_prefetch_multiplier=1,  # a killed worker holds back fewer messages
        task_ignore_result=True,  # Postgres has the result
        task_publish_retry=False,  # the sweeper enqueues the upload again; a sender does not wait
        task_routes={REPLAY: {"queue": REPLAY_QUEUE}},
        task_serializer="json",
        accept_content=["json"],
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        broker_pool_acquire_timeout=CONNECT_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # no limit: the broker may be away for hours
        # Otherwise a broker that refuses commands would end the worker: for example a Redis that became
        # read-only in a fail-over, or a Redis with a full disk.
        broker_channel_error_retry=True,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
        worker_enable_soft_shutdown_on_idle=False,
        broker_transport_options=_transport_options(settings, worker=worker),
        # A copy, because kombu writes the host's name into it.
        broker_use_ssl={**TLS.get(settings.broker_url.partition(":")[0], {})} or False,
    )
    if settings.broker_url.startswith(AMQP):
        # A quorum queue survives the loss of a broker's host. Celery creates missing queues with this type.
        app.conf.task_create_missing_queue_type = "quorum"
    return app


def _sentinel_urls(address: Sentinel) -> str:
    account = f"{quote(address.username, '')}:{quote(address.password, '')}@" if address.password else ""
    hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in address.hosts]
    return ";".join(f"sentinel://{account}{host}:{port}/{address.db}" for host, port in hosts)


def _transport_options(settings: BrokerSettings, *, worker: bool) -> dict[str, Any]:
    timeout = WORKER_SOCKET_TIMEOUT_S if worker else SENDER_SOCKET_TIMEOUT_S
    if settings.broker_url.startswith(AMQP):
        return {
            "confirm_publish": True,
            "read_timeout": timeout,
            "write_timeout": timeout,
            "connect_retries_timeout": CONNECT_RETRIES_S,
        }
    address = sentinel(settings.broker_url)
    known = address and {
        "master_name": address.master_name,
        "sentinel_kwargs": {
            "password": address.sentinel_password or None,
            "ssl": address.tls,
            "socket_timeout": SENDER_SOCKET_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),  # the client asks the next sentinel instead
        },
    }
    return (known or {}) | {
        "visibility_timeout": settings.visibility_timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT_S / 2,
        "socket_keepalive": True,
        "retry_on_timeout": False,
        # kombu's own retries would hold a sender for seconds.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    }


def enqueue(producer: Producer, app: Celery, uploads: Sequence[UUID], *, again: bool = False) -> None:
    """Send one message for up to MESSAGE_SIZE uploads.

    `again`: the message comes from the sweeper, so the worker counts the start of each upload. If the message
    has one upload, the task's id is the upload's uuid, so that operators find the task in Flower.
    """
    try:
        app.send_task(
            REPLAY,
            args=[str(upload) for upload in uploads],
            kwargs={"again": True} if again else {},
            argsrepr=" ".join(map(str, uploads)),  # what Flower shows, and searches
            task_id=str(uploads[0] if len(uploads) == 1 else uuid4()),
            producer=producer,
            # For RabbitMQ. In the web process gevent ignores the transport's read_timeout. There, these two
            # limits apply, and the limit for a new connection, but no other.
            timeout=SENDER_SOCKET_TIMEOUT_S,
            confirm_timeout=SENDER_SOCKET_TIMEOUT_S,
        )
    except Exception:
        # On the same connection, a late confirmation would count as that of the next message.
        if producer.connection:
            producer.connection.collect()
        raise


def queue_length(app: Celery) -> int:
    """Count the messages that wait in the broker; a queue that does not exist yet has none."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        try:
            declared = channel.queue_declare(REPLAY_QUEUE, passive=True)  # type: ignore[attr-defined]  # stub
            return int(declared.message_count)
        except ChannelError:
            return 0
