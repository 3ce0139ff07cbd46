"""`demo` as a newcomer meets it: a story that checks itself, and a command to try."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from cli import sample
from cli.client import Sender
from cli.demo import LEARNER
from shared.models import StudyQuestionAttempt, StudyQuizSession, Upload
from shared.study.finalize import verify
from tests.processes import PATIENCE_S, until
from tests.up import BRISK, COMMAND

SETTINGS = ("DATABASE_URL", "BROKER_URL", "REDIS_URL", "VIEWER_SYNC_TOKEN", "STUDY_INGEST_DATA_DIR")
BARE = {name: value for name, value in os.environ.items() if name not in SETTINGS}

LEARNED = """
geo-capital-australia            correct             0.78 →  5.58  2026-11-26
geo-capital-canada               wrong               0.13 →  0.12  2026-11-21
geo-highest-mountain             unsure, but right  27.08 → 40.14  2026-11-23
sci-hottest-planet               unsure, but right   0.14 →  0.89  2026-11-21
sci-unit-of-force (old edition)  correct            21.41 → 52.69  2027-01-12
sci-bones-of-an-adult            unsure              2.31 →  0.75  2026-11-21
sci-symbol-of-sodium             correct              new →  2.31  2026-11-22
his-question-of-next-year        skipped: unknown
geo-capital-canada               practice: correct
Geography        2      2       1        1          1         1        1
Science          2      ·       3        1          ·         1        ·
History          2      2       ·        ·          1         1        ·
✓ all sessions are ingested
✓ the session is received and ingested
✓ every outcome and every pattern occurs
✓ each counted answer advanced its question by one review, and nothing else changed
✓ an answer to an older edition is graded by that edition's key
✓ right but unsure: the question geo-highest-mountain comes back soon, on 2026-11-23, stability 40 days
✓ practice changed the memory state of its question, and no count
✓ the server answers already_ingested
✓ no progress changed
✓ 0 differences
All checks passed.
"""


@pytest.fixture
def stores(database_url: str, broker_url: str) -> dict[str, str]:
    """Name stores, which the demo then need not start."""
    return {"DATABASE_URL": database_url, "BROKER_URL": broker_url}


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "demo", "--once", *arguments]
    return subprocess.run(
        command, env=BARE | BRISK | environment, capture_output=True, text=True, check=False
    )


def counts(engine: Engine) -> dict[str, int]:
    """Count what there is of the sample's learner; his neighbours play a new session in every run."""
    mine = StudyQuizSession.user_id == LEARNER
    counted = {
        "uploads": select(func.count()).where(Upload.user_id == LEARNER),
        "sessions": select(func.count()).where(mine),
        "attempts": select(func.count()).select_from(StudyQuestionAttempt).join(StudyQuizSession).where(mine),
    }
    with engine.connect() as connection:
        return {name: connection.execute(query).scalar_one() for name, query in counted.items()}


def test_once_shows_what_was_learned_and_leaves_nothing_behind(home: Path) -> None:
    printed = demo(TMPDIR=str(home))
    assert (printed.returncode, printed.stderr) == (0, "")
    lines = [line.strip() for line in printed.stdout.splitlines()]
    assert [line for line in LEARNED.strip().splitlines() if line not in lines] == []
    assert "\x1b" not in printed.stdout
    assert list(home.iterdir()) == []


def test_I2_a_second_run_finds_everything_ingested_and_moves_nothing(
    home: Path, stores: dict[str, str], engine: Engine
) -> None:
    first = demo("--data-dir", str(home / "data"), **stores)
    assert first.returncode == 0, first.stderr
    kept = counts(engine)
    sent = [json.loads(upload) for upload in [*sample.earlier_uploads(), sample.main_upload()]]
    assert kept["uploads"] == len(sent)
    # One of the attempts is at a question that nobody knows.
    assert kept["attempts"] == sum(len(upload["attempts"]) for upload in sent) - 1
    again = demo("--data-dir", str(home / "data"), **stores)
    assert again.returncode == 0, again.stderr
    assert "sent this session: it counts once" in again.stdout
    assert "advanced its question" not in again.stdout
    assert counts(engine) == kept


def test_a_failed_check_is_shown_and_exits_1(home: Path, stores: dict[str, str], engine: Engine) -> None:
    assert demo("--data-dir", str(home / "data"), **stores).returncode == 0
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE study_question_progress SET stability = 99 WHERE user_id = 42 AND reviews = 4")
        )
    (checked,) = (each for each in verify(engine) if each.differing)
    printed = demo("--data-dir", str(home / "data"), **stores)
    assert printed.returncode == 1
    assert "All checks passed" not in printed.stdout
    assert printed.stderr == f"Error: this check failed: {len(checked.differing)} differences\n"


@contextmanager
def staying(home: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a demo that stays, writing to a file."""
    command = [COMMAND, "demo", "--data-dir", str(home / "data"), "--port", "0"]
    said = home / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(command, env=BARE | BRISK | environment, stdout=output, stderr=output)
    try:
        yield process, said
    finally:
        process.kill()
        process.wait()


def curl(line: str) -> Any:
    return json.loads(subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True).stdout)


@pytest.mark.skipif(not shutil.which("curl"), reason="the line to try needs curl")
def test_the_printed_commands_work_as_they_stand(home: Path, stores: dict[str, str]) -> None:
    with staying(home, **stores) as (process, said):

        def is_printed() -> bool:
            assert process.poll() is None, said.read_text()
            return "Then look" in said.read_text() and said.read_text().endswith("\n")

        until(is_printed, "it is printed")
        (line,) = re.findall(r"^curl(?:.*\\\n)*.*$", said.read_text(), re.MULTILINE)
        received = curl(line)
        assert received["status"] == "received"
        (api,) = re.findall(r"API +(http://\S+)", said.read_text())
        (token,) = re.findall(r"viewer token +(\S+)", said.read_text())
        with Sender(api, token) as sender:
            until(
                lambda: sender.status(received["client_session_uuid"])["status"] == "ingested",
                "the upload of the line is ingested",
            )
        again = curl(line)
        assert again["status"] == "already_ingested"
        assert [topic["newly_correct_count"] for topic in again["result"]["topics"]] == [1]
        (look,) = re.findall(rf"^.* progress --user {LEARNER} .*$", said.read_text(), re.MULTILINE)
        shown = subprocess.run(["/bin/sh", "-c", look], env=BARE, capture_output=True, check=True).stdout
        assert json.loads(shown.splitlines()[0])["pub_id"] == "geo-capital-australia"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert "Traceback" not in said.read_text()
