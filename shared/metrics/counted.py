"""What processes count. No label may hold an id, a learner or a token (I11)."""

import os
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, values

from shared.plan import Fate
from shared.study.grading import Outcome
from shared.uploads.arrival import Verdict
from shared.uploads.status import Status

# Not of the settings: a metric decides when it is made where it is kept.
if DIRECTORY := os.environ.get("METRICS_DIR"):
    Path(DIRECTORY).mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = DIRECTORY
    # The library chose at its import, and Flower, a plugin of celery, has imported it before us.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]

SPACE = "study_ingest"
# A request ends by the deadlines of two stores, a replay by the time limit of a task.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REPLAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
STATEMENT_BUCKETS = (2, 5, 8, 9, 10, 11, 12, 15, 20, 50)

REQUESTS = Counter("requests", "Requests answered", ("route", "method", "status"), SPACE)
REQUEST_SECONDS = Histogram(
    "request_seconds", "Time to answer a request", ("route", "method"), SPACE, buckets=REQUEST_BUCKETS
)
DELIVERIES = Counter(
    "deliveries", "Deliveries by verdict: all but `new` and `conflict` are duplicates", ("verdict",), SPACE
)
# Its files may outlive a killed process: the next to start says that its breaker is closed.
BREAKER_OPEN = Gauge(
    "breaker_open",
    "Whether requests are spared a store that failed; as the process says that noticed a change last",
    ("store",),
    SPACE,
    multiprocess_mode="mostrecent",
)
RING_FAILURES = Counter("ring_failures", "Rings that the broker did not take", (), SPACE)
ENDED = Counter("uploads_ended", "Uploads that became ingested, rejected or dead", ("status",), SPACE)
REPLAY_SECONDS = Histogram("replay_seconds", "Time to replay an upload", (), SPACE, buckets=REPLAY_BUCKETS)
REPLAY_STATEMENTS = Histogram(
    "replay_statements",
    "Statements of a replay, which no number of attempts may raise",
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
CLOCK_ADJUSTED = Counter("attempts_clock_adjusted", "Attempts whose time had to be corrected", (), SPACE)
ANSWERS = Counter("answers", "Graded attempts of ingested uploads", ("outcome",), SPACE)
LATE_FOLDS = Counter("late_folds", "Questions folded anew from their whole history", (), SPACE)

# A counter that appears with its first event has not risen, for Prometheus: whatever can be counted is
# shown from the start, as 0.
for _counter, _words in (
    (DELIVERIES, Verdict),
    (ENDED, (Status.INGESTED, Status.REJECTED, Status.DEAD)),
    (ATTEMPTS, Fate),
    (ANSWERS, Outcome),
):
    for _word in _words:
        _counter.labels(_word)
