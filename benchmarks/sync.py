"""B5: a catalog of 500,000 questions kept in step over HTTP, and what others notice of it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import psutil

from benchmarks.accept import answered
from benchmarks.client import Load
from benchmarks.figures import Figure, percentile, ratio
from benchmarks.memory import MEBIBYTE
from benchmarks.servers import CATALOG_TOKEN, PROCFILE, STUDY_TOKEN, Stores, running, serving
from benchmarks.workload import LEARNERS, TOPICS, make_catalog

QUESTIONS, QUICK_QUESTIONS = 500_000, 5_000
QUIET_S, QUICK_QUIET_S = 60.0, 5.0
OF_A_TOPIC = 100
TOPICS_OF_A_LEARNER = 10
# Ids that no other learner of the workload has.
FIRST = 1_000_000
# A second; about a fifth of what two processors accept and replay.
UPLOADS_RATE, UPLOADS_AT_ONCE = 40.0, 80
LIVE_PAUSE_S = 0.05
LOOK_S = 0.5


class Run(NamedTuple):
    """One sync: how long it took, and the most MiB of the client, of the web process and of Postgres' own."""

    seconds: float
    client: float
    web: float
    postgres: float


class Others:
    """Uploads and live answers of other learners, for the length of a `with`: how long each took."""

    def __init__(self, port: int, uploads: Iterator[int], learners: Iterator[int]) -> None:
        self.uploads: list[float] = []
        self.answers: list[float] = []
        self._port = port
        self._first = uploads
        self._learners = learners
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._upload, self._answer)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _upload(self) -> None:
        while not self._over.is_set():
            load = Load(self._port, next(self._first) * UPLOADS_AT_ONCE, UPLOADS_AT_ONCE, 8, UPLOADS_RATE)
            self.uploads += [each.took for each in answered(load, 202)]

    def _answer(self) -> None:
        headers = {"Authorization": f"Bearer {STUDY_TOKEN}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", headers=headers, trust_env=False
        ) as http:
            while not self._over.is_set():
                learner = next(self._learners) % LEARNERS + 1
                path = f"/study/users/{learner}/sessions"
                session = _json(http.post(path, json={"study_topic_id": learner * TOPICS}))
                for question in session["questions"]:
                    begun = time.perf_counter()
                    answer = {"pub_id": question["pub_id"], "selected": 0, "unsure": False}
                    _json(http.post(f"{path}/{session['session_id']}/attempts", json=answer))
                    self.answers.append(time.perf_counter() - begun)
                    time.sleep(LIVE_PAUSE_S)
                _json(http.post(f"{path}/{session['session_id']}/finalize"))


def _json(response: httpx.Response) -> Any:
    return response.raise_for_status().json()


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Sync a tenth, the whole, the same again, and with one question changed."""
    questions = QUICK_QUESTIONS if quick else QUESTIONS
    quiet_s = QUICK_QUIET_S if quick else QUIET_S
    file = stores.directory / "catalog.ndjson"
    uploads, learners = count(1), count()
    settings = stores.settings("sync")
    with stores.database("sync"), stores.engine("sync") as engine:
        with engine.begin() as connection:
            make_catalog(connection)
        with (
            serving(stores, settings, PROCFILE["web"]) as port,
            running(stores, settings, {name: PROCFILE[name] for name in ("worker", "sweeper")}),
        ):
            with Others(port, uploads, learners):  # warm
                time.sleep(quiet_s / 10)
            _write(file, questions // 10)
            tenth = _sync(file, port)
            _write(file, questions)
            with Others(port, uploads, learners) as quiet:
                time.sleep(quiet_s)
            with Others(port, uploads, learners) as meanwhile:
                whole = _sync(file, port)
            with Others(port, uploads, learners) as while_comparing:
                again = _sync(file, port)
            idle = _sync(file, port)
            _write(file, questions, changed=True)
            one = _sync(file, port)
            single = stores.directory / "topic.ndjson"
            single.write_text(file.read_text().partition("\n")[0].replace("changed", "changed again"))
            topic = _sync(single, port)
    with stores.redis() as redis:
        redis.flushall()
    sides = {"the first sync": meanwhile, "one that finds no difference": while_comparing}
    return [
        Figure(
            "sync",
            f"first sync of {questions:,} questions, a tenth known, others busy",
            (whole.seconds,),
            "s",
        ),
        Figure("sync again", "again, nothing changed, others busy", (again.seconds,), "s"),
        Figure("sync again idle", "again, nothing changed, others idle", (idle.seconds,), "s", "seconds"),
        ratio("sync one", "one question changed ÷ nothing changed", [one.seconds], [idle.seconds]),
        Figure("sync topic", "a file with the topic that changed alone", (topic.seconds,), "s", "< 1"),
        *(
            ratio(f"sync {name}", f"memory of {what}: whole ÷ a tenth", [getattr(whole, name)], [least])
            for name, what, least in (
                ("client", "the client", tenth.client),
                ("web", "the web process", tenth.web),
                ("postgres", "Postgres' backends", tenth.postgres),
            )
        ),
        Figure("sync client MiB", "most memory of the client", (whole.client,), "MiB"),
        Figure("sync web MiB", "most memory of the web process", (whole.web,), "MiB"),
        *(
            figure
            for when, side in sides.items()
            for figure in (
                _beside(
                    f"sync uploads p99, {when}", f"uploads' p99 during {when}", side.uploads, quiet.uploads
                ),
                _beside(
                    f"sync live p99, {when}", f"live answers' p99 during {when}", side.answers, quiet.answers
                ),
            )
        ),
        Figure(
            "quiet uploads p99",
            "uploads' p99 without a sync",
            (percentile(quiet.uploads, 0.99) * 1000,),
            "ms",
        ),
        Figure(
            "quiet live p99", "live answers' p99 without", (percentile(quiet.answers, 0.99) * 1000,), "ms"
        ),
    ]


def _beside(name: str, meaning: str, busy: list[float], quiet: list[float]) -> Figure:
    p99 = [percentile(side, 0.99) for side in (busy, quiet)]
    return ratio(name, f"{meaning} ÷ that of a quiet time", p99[:1], p99[1:], "≤ 2")


def _write(file: Path, questions: int, *, changed: bool = False) -> None:
    """Write a catalog, one line a topic; `changed`: its first question has another text."""
    with file.open("w") as lines:
        for topic in range(questions // OF_A_TOPIC):
            learner = FIRST + topic // TOPICS_OF_A_LEARNER
            catalog = {
                "users": [{"id": learner, "time_zone": "Asia/Seoul"}],
                "topics": [{"id": FIRST + topic, "user_id": learner, "name": f"topic {topic}"}],
                "questions": [
                    _question(
                        learner, FIRST + topic, topic * OF_A_TOPIC + n, changed=changed and topic == n == 0
                    )
                    for n in range(OF_A_TOPIC)
                ],
            }
            lines.write(json.dumps(catalog) + "\n")


def _question(learner: int, topic: int, number: int, *, changed: bool) -> dict[str, Any]:
    choices = [f"choice {n} of question {number}, some forty letters long" for n in range(4)]
    return {
        "id": FIRST + number,
        "pub_id": f"sync-{number}",
        "user_id": learner,
        "study_topic_id": topic,
        "subject": "changed" if changed else f"subject {number % 5}",
        "exam_frequency": number % 7 / 7,
        "published_at": "2026-01-01T00:00:00Z",
        "choices": choices,
        "correct_choice": number % 4,
    }


def _sync(file: Path, port: int) -> Run:
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "cli", "catalog", "sync", str(file), "--url", url]
    with _most(lambda: _private(" api"), lambda: _private("postgres:")) as most:
        begun = time.perf_counter()
        client = subprocess.Popen(command, env=os.environ | {"CATALOG_TOKEN": CATALOG_TOKEN})  # noqa: S603  # ours
        _, status, usage = os.wait4(client.pid, 0)
        seconds = time.perf_counter() - begun
    client.returncode = os.waitstatus_to_exitcode(status)
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command)
    return Run(seconds, usage.ru_maxrss / 1024, *most)


@contextmanager
def _most(*measures: Callable[[], float]) -> Iterator[list[float]]:
    """Look at some measures until the end of the `with`, and keep the most of each."""
    most = [0.0 for _ in measures]
    over = threading.Event()

    def look() -> None:
        while True:
            most[:] = [max(each, measure()) for each, measure in zip(most, measures, strict=True)]
            if over.wait(LOOK_S):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _private(part: str) -> float:
    """Return the most MiB that a process of ours has for itself, of those whose command line has a part."""
    found = [0.0]
    for process in psutil.Process().children(recursive=True):
        try:
            if part in f" {' '.join(process.cmdline())}":
                found.append(process.memory_full_info().uss / MEBIBYTE)
        except psutil.Error:
            continue
    return max(found)
