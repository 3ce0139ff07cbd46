"""`python -m benchmarks.locality`: which of our modules an upload and a live answer enter, in which order.

The result is information, not a target: no code is split or joined for it. The trace follows a reader who
reads each function when it is called for the first time. A move leads into another module; it counts as a
move back if the reader was in that module before.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from uuid import uuid4

import click
from werkzeug.test import TestResponse

from api.app import create_app
from benchmarks.servers import STUDY_TOKEN, TOKEN, start_stores, variables
from cli import sample
from shared.catalog_admin import load_catalog

ROOT = Path(__file__).resolve().parent.parent
OURS = {"api", "shared", "worker"}
LEARNER = 42
AFTER_S = 0.3  # the publisher waits for other uploads of the same moment


class Trace:
    """Note each move into another of our modules."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self._read: set[CodeType] = set()
        self._on = False
        self._thread: int | None = None

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take an event of `sys.setprofile`."""
        if not self._on or event != "call" or frame.f_code in self._read:
            return
        if self._thread not in {None, threading.get_ident()}:
            return
        self._read.add(frame.f_code)
        file = frame.f_code.co_filename
        if file.startswith(str(ROOT)) and "site-packages" not in file:
            module = str(Path(file).relative_to(ROOT).with_suffix("")).replace(os.sep, ".")
            if module.partition(".")[0] in OURS and self.path[-1:] != [module]:
                self.path.append(module)

    @contextmanager
    def on(self, *, threads: bool) -> Iterator[None]:
        """Trace for the length of a `with`; `threads`: trace all threads, not only this one."""
        self.path, self._read, self._on = [], set(), True
        self._thread = None if threads else threading.get_ident()
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._on = False

    def show(self, name: str) -> None:
        """Print the modules in the order in which they were entered first, and how often each was entered."""
        entered = dict.fromkeys(self.path)
        back = len(self.path) - len(entered)
        click.echo(f"{name}: {len(entered)} modules, {len(self.path)} moves, {back} of them back")
        for module in entered:
            click.echo(f"    {module} {self.path.count(module)}")


def main() -> None:
    """Trace a POST, its replay, and a live answer; run each once before, so that all modules are imported."""
    trace = Trace()
    threading.setprofile(trace)
    with start_stores() as stores, stores.database("locality") as database, stores.engine(database) as engine:
        settings = stores.settings(database)
        with engine.begin() as connection:
            load_catalog(connection, sample.read_catalog())
        web = create_app(settings).test_client()

        def post(path: str, body: Any) -> TestResponse:
            token = STUDY_TOKEN if path.startswith("/study") else TOKEN
            response = web.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
            if not response.is_json or response.status_code >= 400:  # noqa: PLR2004  # an error of HTTP
                raise ValueError(f"{path}: {response.status}: {response.text}")
            time.sleep(AFTER_S)
            return response

        def twice(name: str, act: Callable[[], object], *, threads: bool = True) -> None:
            act()
            with trace.on(threads=threads):
                act()
            trace.show(name)

        uuids = [str(uuid4()), str(uuid4())]
        uploads = iter(uuids)
        session = json.loads(sample.main_upload())
        twice(
            "POST", lambda: post("/ingest/study/attempts", session | {"client_session_uuid": next(uploads)})
        )

        os.environ.update(variables(settings))
        from worker.tasks import replay_uploads  # noqa: PLC0415  # it reads its settings when it is imported

        waiting = iter(uuids)
        twice("replay", lambda: replay_uploads(next(waiting)), threads=False)

        topic = sample.read_catalog().topics[0].id
        live = post(f"/study/users/{LEARNER}/sessions", {"study_topic_id": topic}).get_json()
        asked = iter(live["questions"])

        def answer() -> None:
            given = {"pub_id": next(asked)["pub_id"], "selected": 0, "unsure": False}
            post(f"/study/users/{LEARNER}/sessions/{live['session_id']}/attempts", given)

        twice("live answer", answer)


if __name__ == "__main__":
    main()
