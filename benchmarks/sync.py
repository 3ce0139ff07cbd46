"""Sync a catalog of 500,000 questions over HTTP, and measure how much this slows other requests."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
from cli.local.supervisor import wait_until

QUESTIONS, QUICK_QUESTIONS = 500_000, 5_000
# A round measures other requests for this long while a sync runs, and again while the sync is stopped.
WINDOW_S, QUICK_WINDOW_S = 30.0, 5.0
AGAIN = 3
TOPIC_ROUNDS = 9
OF_A_TOPIC = 100
TOPICS_OF_A_LEARNER = 10
# The first id of the synced learners, topics and questions: the workload has no ids from here on.
FIRST = 1_000_000
# Uploads per second: about a fifth of what two processors accept and replay; and uploads in one load.
UPLOADS_RATE, UPLOADS_AT_ONCE = 40.0, 80
LIVE_PAUSE_S = 0.05
LOOK_S = 0.5
AGAIN_S = 0.1


class Others:
    """Send uploads and live answers of other learners during a `with`, and note how long each takes."""

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
                session = _json(partial(http.post, path, json={"study_topic_id": learner * TOPICS}))
                for question in session["questions"]:
                    begun = time.perf_counter()
                    answer = {"pub_id": question["pub_id"], "selected": 0, "unsure": False}
                    _json(partial(http.post, f"{path}/{session['session_id']}/attempts", json=answer))
                    self.answers.append(time.perf_counter() - begun)
                    time.sleep(LIVE_PAUSE_S)
                _json(partial(http.post, f"{path}/{session['session_id']}/finalize"))


class Run(NamedTuple):
    """One sync: how long it ran, and the most MiB of the client, the web process and a process of Postgres.

    `rounds`: other requests while the sync ran, and while it was stopped.
    """

    seconds: float
    rounds: list[tuple[Others, Others]]
    client: float
    web: float
    postgres: float


def _json(ask: Callable[[], httpx.Response]) -> Any:
    """Return the JSON of an answer; ask again after a 503, as a front end does: that time counts, too."""
    while (response := ask()).status_code == httpx.codes.SERVICE_UNAVAILABLE:
        time.sleep(AGAIN_S)
    return response.raise_for_status().json()


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Sync a tenth of a catalog, all of it, the same again, and all with one question changed."""
    questions = QUICK_QUESTIONS if quick else QUESTIONS
    window = QUICK_WINDOW_S if quick else WINDOW_S
    file = stores.directory / "catalog.ndjson"
    settings = stores.settings("sync")
    with stores.database("sync"), stores.engine("sync") as engine:
        with engine.begin() as connection:
            make_catalog(connection)
        with (
            serving(stores, settings, PROCFILE["web"]) as port,
            running(stores, settings, {name: PROCFILE[name] for name in ("worker", "sweeper")}),
        ):
            others = partial(Others, port, count(1), count())
            with others():  # to warm up
                time.sleep(window / 5)
            _write(file, questions // 10)
            tenth = _sync(file, port)
            _write(file, questions)
            whole = _sync(file, port, others, window)
            again = [_sync(file, port, others, window) for _ in range(AGAIN)]
            idle = _sync(file, port)
            _write(file, questions, changed=True)
            one = _sync(file, port)
            topics = _time_topics(file, stores.directory / "topic.ndjson", port)
    with stores.redis() as redis:
        redis.flushall()
    rounds = {
        "the first sync": whole.rounds,
        "one that finds no difference": [each for run in again for each in run.rounds],
    }
    return [
        Figure(
            "sync",
            f"first sync of {questions:,} questions, a tenth known, others busy",
            (whole.seconds,),
            "s",
        ),
        Figure("sync again", "again, nothing changed, others busy", tuple(run.seconds for run in again), "s"),
        Figure("sync again idle", "again, nothing changed, others idle", (idle.seconds,), "s", "seconds"),
        ratio("sync one", "one question changed ÷ nothing changed", [one.seconds], [idle.seconds]),
        Figure("sync topic", "a file with one topic, of which one question changed", topics, "s", "< 1"),
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
            for when, sides in rounds.items()
            for figure in (
                _beside(f"sync uploads p99, {when}", f"uploads' p99 during {when}", _uploads(sides)),
                _beside(f"sync live p99, {when}", f"live answers' p99 during {when}", _answers(sides)),
            )
        ),
        _quiet("quiet uploads p99", "uploads' p99 without a sync", _uploads(whole.rounds)),
        _quiet("quiet live p99", "live answers' p99 without a sync", _answers(whole.rounds)),
    ]


Sides = tuple[tuple[float, ...], ...]  # of each round: with a sync, without one


def _uploads(rounds: list[tuple[Others, Others]]) -> Sides:
    return tuple(tuple(percentile(side.uploads, 0.99) for side in each) for each in rounds)


def _answers(rounds: list[tuple[Others, Others]]) -> Sides:
    return tuple(tuple(percentile(side.answers, 0.99) for side in each) for each in rounds)


def _beside(name: str, meaning: str, sides: Sides) -> Figure:
    busy, quiet = zip(*sides, strict=True)
    return ratio(name, f"{meaning} ÷ that of a quiet time", busy, quiet, "≤ 2")


def _quiet(name: str, meaning: str, sides: Sides) -> Figure:
    return Figure(name, meaning, tuple(quiet * 1000 for _, quiet in sides), "ms")


def _write(file: Path, questions: int, *, changed: bool = False) -> None:
    """Write a catalog, one line for each topic; `changed`: its first question has another subject."""
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


def _sync(file: Path, port: int, others: Callable[[], Others] | None = None, window: float = math.inf) -> Run:
    """Run a sync; with `others`, stop it after each window for another window, to compare the two."""
    command = _command(file, port)
    rounds: list[tuple[Others, Others]] = []
    # Not the client's `ru_maxrss`: it begins with that of this process.
    processes = (" catalog sync ", " api", "postgres:")
    with _most(*(partial(_private, part) for part in processes)) as most:
        begun, stopped = time.perf_counter(), 0.0
        client = subprocess.Popen(command, env=os.environ | {"CATALOG_TOKEN": CATALOG_TOKEN})  # noqa: S603  # ours
        while others and client.poll() is None:
            with others() as busy:
                wait_until(lambda: client.poll() is not None, window)
            if rounds and client.poll() is not None:  # the last window is not complete
                break
            os.kill(client.pid, signal.SIGSTOP)
            stopped_at = time.perf_counter()
            with others() as quiet:
                time.sleep(window)
            stopped += time.perf_counter() - stopped_at
            os.kill(client.pid, signal.SIGCONT)
            rounds.append((busy, quiet))
        client.wait()
        seconds = time.perf_counter() - begun - stopped
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command)
    return Run(seconds, rounds, *most)


def _time_topics(file: Path, single: Path, port: int) -> tuple[float, ...]:
    """Change a question of a catalog's first topic, and sync that topic alone; return each round's seconds.

    Unlike `_sync`, this does not measure memory: with that, the first round took 0.3 s longer.
    """
    with file.open() as lines:
        topic = json.loads(next(lines))
    seconds = []
    for number in range(TOPIC_ROUNDS):
        topic["questions"][0]["subject"] = f"changed {number}"
        single.write_text(json.dumps(topic))
        begun = time.perf_counter()
        subprocess.run(_command(single, port), env=os.environ | {"CATALOG_TOKEN": CATALOG_TOKEN}, check=True)  # noqa: S603  # ours
        seconds.append(time.perf_counter() - begun)
    return tuple(seconds)


def _command(file: Path, port: int) -> list[str]:
    url = f"http://127.0.0.1:{port}"
    return [sys.executable, "-m", "cli", "catalog", "sync", str(file), "--url", url]


@contextmanager
def _most(*measures: Callable[[], float]) -> Iterator[list[float]]:
    """Take these measures repeatedly until the end of the `with`, and keep the maximum of each."""
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
    """Return the most private MiB of one process, of all our processes with `part` in their command line."""
    found = [0.0]
    for process in psutil.Process().children(recursive=True):
        try:
            if part in f" {' '.join(process.cmdline())}":
                found.append(process.memory_full_info().uss / MEBIBYTE)
        except psutil.Error:
            continue
    return max(found)
