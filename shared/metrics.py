"""The metrics: what the processes count, and what the stores answer at a scrape.

Each store is asked on its own thread, within a deadline.
"""

# Prometheus' library has few types.
# mypy: disable-error-code="no-untyped-call"

import mmap
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from shared import broker, db, failures, spool
from shared.config import Settings
from shared.health import Problem, problems, read_state
from shared.plan import Fate
from shared.study.grading import Outcome
from shared.uploads import Status, Verdict

log = structlog.get_logger()


def _is_whole(file: str) -> bool:
    """Return whether a file is complete; a process or host that is killed may leave an incomplete one."""
    try:
        MultiProcessCollector.merge([file])
    except Exception:  # noqa: BLE001  # the library may raise errors of any kind
        return False
    return True


# Sizes in bytes: a new file, its header, and an entry without its key.
INITIAL_SIZE = 1 << 16
HEADER = 8
ROOM = 32


class _OwnFile(MmapedDict):
    """A file of this process's metrics; it replaces an incomplete file of an ended process with the same id.

    The blocks of this file are reserved: the library's own files are sparse, and a process that writes to a
    sparse file on a full disk gets SIGBUS. If no block can be reserved, values stay in memory, and scrapes
    miss them.
    """

    def __init__(self, filename: str) -> None:
        if not _is_whole(filename):
            Path(filename).unlink(missing_ok=True)
        try:
            with Path(filename).open("ab") as file:
                _reserve(file.fileno(), INITIAL_SIZE)
        except OSError as error:
            log.warning("metrics.path_unusable", path=filename, error=failures.describe(error))
            self._f = None  # type: ignore[assignment]  # as after the library's `close`
            self._m = mmap.mmap(-1, INITIAL_SIZE)
            self._capacity, self._used, self._positions = INITIAL_SIZE, HEADER, {}
        else:
            super().__init__(filename)

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ROOM > self._capacity:
            self._grow()
        super()._init_value(key)

    def _grow(self) -> None:
        try:
            if self._f:
                _reserve(self._f.fileno(), 2 * self._capacity)
                return  # the library continues
        except OSError as error:
            log.warning("metrics.path_unusable", path=self._f.name, error=failures.describe(error))
            self._f.close()
            self._f = None  # type: ignore[assignment]  # as after the library's `close`
        larger = mmap.mmap(-1, 2 * self._capacity)
        larger[: self._used] = self._m[: self._used]
        self._m, self._capacity = larger, 2 * self._capacity


def _reserve(handle: int, size: int) -> None:
    if sys.platform == "linux":
        os.posix_fallocate(handle, 0, size)


def _prepare_files(directory: str) -> None:
    """Make the directory, as the library does not make it; if it cannot be used, count only in memory."""
    values.MmapedDict = _OwnFile  # type: ignore[attr-defined,assignment]  # where the library looks it up
    try:
        if directory:  # an empty name means unset; with it, the library would write to the working directory
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()  # raises where it cannot be used
            return
    except OSError as error:
        log.warning("metrics.path_unusable", path=directory, error=failures.describe(error))
    values.ValueClass = values.MutexValue


_prepare_files(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))

SPACE = "study_ingest"
# The largest buckets come from limits: a request waits for two stores, a replay ends at TASK_TIME_LIMIT.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REPLAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
STATEMENT_BUCKETS = (2, 5, 8, 9, 10, 11, 12, 15, 20, 50)

REQUESTS = Counter("requests", "Requests answered", ("route", "method", "status"), SPACE)
REQUEST_SECONDS = Histogram(
    "request_seconds", "Time to answer a request", ("route", "method"), SPACE, buckets=REQUEST_BUCKETS
)
REFUSALS = Counter(
    "refusals", "Requests of the API that were answered with a problem, by its type", ("problem",), SPACE
)
DELIVERIES = Counter(
    "deliveries", "Deliveries by verdict: ingested, rejected and dead ones are repeats", ("verdict",), SPACE
)
# The files of a killed process stay, so the gauge may stay 1 until the next process starts and sets it to 0.
BREAKER_OPEN = Gauge(
    "breaker_open",
    "Whether requests avoid a store that failed; the last change by any process counts",
    ("store",),
    SPACE,
    multiprocess_mode="mostrecent",
)
ENQUEUE_FAILURES = Counter(
    "enqueue_failures",
    "Failed calls to the broker: to enqueue, or to ask for the length of the queue",
    (),
    SPACE,
)
ENDED = Counter("uploads_ended", "Uploads that became ingested, rejected or dead", ("status",), SPACE)
REPLAY_SECONDS = Histogram(
    "replay_seconds",
    "Time to replay an upload; if several share a transaction, an equal part of the time",
    (),
    SPACE,
    buckets=REPLAY_BUCKETS,
)
REPLAY_STATEMENTS = Histogram(
    "replay_statements",
    "Statements of a transaction that replays uploads, for all of its uploads together",
    (),
    SPACE,
    buckets=STATEMENT_BUCKETS,
)
ATTEMPTS = Counter(
    "attempts",
    "Attempts of replayed uploads; invalid_choice rises when a viewer counts choices from 1",
    ("fate",),
    SPACE,
)
CLOCK_ADJUSTED = Counter(
    "attempts_clock_adjusted", "Attempts whose time was corrected or is doubtful", (), SPACE
)
ANSWERS = Counter("answers", "Graded attempts of ingested uploads", ("outcome",), SPACE)
# The buckets of a request, and more up to the default WEBHOOK_TIMEOUT.
WEBHOOK_SECONDS = Histogram(
    "webhook_seconds",
    "Time of one try to deliver a webhook, whether the receiver answered or not",
    (),
    SPACE,
    buckets=(*REQUEST_BUCKETS, 5.0, 10.0),
)
WEBHOOK_TRIES = Counter("webhook_tries", "Tries to deliver a webhook, by result", ("result",), SPACE)
LATE_FOLDS = Counter("late_folds", "Questions that replays folded from their whole history", (), SPACE)

# Prometheus misses the first increment of a counter that did not exist before: so all counters begin at 0.
for _counter, _words in (
    (DELIVERIES, [each for each in Verdict if each is not Verdict.LOCKED]),
    (ENDED, (Status.INGESTED, Status.REJECTED, Status.DEAD)),
    (ATTEMPTS, Fate),
    (ANSWERS, Outcome),
    (WEBHOOK_TRIES, ("delivered", "failed", "refused")),
):
    for _word in _words:
        _counter.labels(_word)

# Prometheus waits for 10 s by default; a healthy store answers in milliseconds.
DEADLINE_S = 2.0

Ask = Callable[[], list[Metric]]


class Stores(Collector):
    """Ask Postgres, Redis and the broker, on separate connections: ingest never waits for a scrape.

    Each store has one thread. A store that hangs blocks only its thread, and is asked again when the thread
    is free.
    """

    def __init__(self, settings: Settings) -> None:
        brief = settings.model_copy(update={"lock_timeout": DEADLINE_S})
        engine = db.make_engine(brief, pre_ping=True, scanning=True, statement_limit=DEADLINE_S)
        # psycopg warns of open connections that are garbage collected.
        weakref.finalize(self, engine.dispose)
        app = broker.make_celery(settings)
        asks: dict[str, Ask] = {
            "postgres": lambda: _system(engine, settings),
            "broker": lambda: [
                _gauge("queue_length", "Messages that wait in the broker", value=broker.queue_length(app))
            ],
        }
        if settings.redis_url:
            redis = spool.connect(settings.redis_url, spool.PROCESS_TIMEOUT_S)
            asks["redis"] = lambda: [
                _gauge("spool_length", "Uploads in the spool", value=spool.spooled(redis))
            ]
        self._asks = [(name, ask, ThreadPoolExecutor(1, f"scrape-{name}")) for name, ask in asks.items()]

    def collect(self) -> Iterator[Metric]:
        """Return the answers that came in time, and which stores answered."""
        futures = {name: thread.submit(ask) for name, ask, thread in self._asks}
        wait(futures.values(), DEADLINE_S)
        answers = _gauge("store_answers", "Whether a store answered this scrape", "store")
        for name, future in futures.items():
            found = _answer(name, future)
            answers.add_metric([name], found is not None)
            yield from found or []
        yield answers


def _answer(name: str, future: Future[list[Metric]]) -> list[Metric] | None:
    if not future.done():
        future.cancel()
        log.warning("metrics.store_not_read", store=name, error="no answer in time")
        return None
    if error := future.exception():
        log.warning("metrics.store_not_read", store=name, error=failures.describe(error))
        return None
    return future.result()


def _system(engine: Engine, settings: Settings) -> list[Metric]:
    with engine.connect() as connection:
        state = read_state(connection)
    uploads = _gauge("uploads", "Uploads that wait, or have failed and are not purged", "status")
    for status, count in (
        ("received", state.waiting),
        ("rejected", state.rejected),
        ("dead", state.dead),
    ):
        uploads.add_metric([status], count)
    found = problems(state, settings)
    problem = _gauge("problem", "Whether the system has this problem: 0 or 1", "problem")
    for each in Problem:
        problem.add_metric([each], each in found)
    return [
        uploads,
        problem,
        _gauge("conflicts", "Other content under a known uuid, not decided yet", value=state.conflicts),
        _gauge(
            "oldest_received_age_seconds",
            "Age of the longest waiting upload; 0: none",
            value=state.oldest_age or 0.0,
        ),
        _gauge("webhooks_waiting", "Webhooks that wait to be delivered", value=state.webhooks),
        _gauge(
            "oldest_webhook_age_seconds",
            "Age of the longest waiting webhook; 0: none",
            value=state.oldest_webhook_age or 0.0,
        ),
        _gauge(
            "sweeper_heartbeat_age_seconds",
            "Time since the sweeper's last heartbeat; infinite: it never ran",
            value=float("inf") if state.heartbeat_age is None else state.heartbeat_age,
        ),
    ]


def _gauge(name: str, help_text: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{SPACE}_{name}", help_text, value, labels or None)


def registry(settings: Settings) -> CollectorRegistry:
    """Make the registry of a scrape: what this host's processes have counted, and the state of the stores."""
    made = CollectorRegistry()
    made.register(Files(Path(settings.prometheus_multiproc_dir)))
    made.register(Stores(settings))
    return made


# The library names a file by the kind of metric (with the mode, if it is a gauge) and by the process.
FILE_NAME = re.compile(r"(counter|histogram|gauge_[a-z]+)_\d+\.db")


class Files(Collector):
    """Combine the files of all processes, including ended ones; incomplete files are skipped."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._directory.glob("*.db") if FILE_NAME.fullmatch(file.name)]
        return [*MultiProcessCollector.merge([file for file in files if _is_whole(file)])]
