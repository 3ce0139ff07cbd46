"""A document server with us in a database apart: our catalog follows its own, and progress comes back."""

from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient

from shared.config import Settings
from shared.db import make_engine
from tests.factories import WRONG, answer, standing, upload
from tests.host.app import run, with_ingest_apart
from tests.host.conftest import Host
from tests.processes import PATIENCE_S, processes, until

AT = "2026-11-20T09:00:00Z"
LATER = "2026-11-23T09:00:00Z"
TOKENS = ("viewer-token-of-tests", "study-token-of-tests", "catalog-token-of-tests")
COPIED = "SELECT user_id, study_question_id, reviews FROM study_question_progress ORDER BY study_question_id"


def synced(server: FlaskClient, path: str = "/sync") -> str:
    return server.post(path).text.splitlines()[0]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_its_catalog_is_kept_in_step_and_progress_comes_back(
    host: Host, settings: Settings, tmp_path: Path
) -> None:
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKENS[2]})
    engine = make_engine(settings)
    with processes(settings, tmp_path) as house:
        for name in ("worker", "sweeper"):
            house.start(name)
        with httpx.Client(base_url=house.serve(), timeout=PATIENCE_S) as web:
            server = with_ingest_apart(host.url, web, *TOKENS).test_client()
            copy = server.application.extensions["copy"]

            def learned() -> list[tuple[int, ...]]:
                assert server.post("/progress").status_code == 204
                assert copy.differences(engine) == 0
                return [tuple(row.values()) for row in run(host.url, COPIED)]

            assert synced(server) == "2 of 2 topics differed: 6 questions sent, 0 withdrawn"
            assert synced(server) == "0 of 2 topics differed: 0 questions sent, 0 withdrawn"
            first = upload(answer("ann-0", AT), answer("ann-1", AT, WRONG))
            assert server.post("/uploads", json=first).status_code == 202
            until(lambda: standing(engine, first).status == "ingested", "it is ingested")
            (user,) = {row[0] for row in learned()}
            assert server.get(f"/users/{user}/due?before=2027-06-01").json == ["ann-1", "ann-0"]
            wrong, right = (copy.copy[user][row[1]] for row in learned()[::-1])
            assert (wrong["misses"], right["misses"]) == (1, 0)

            host.client.put("/published_items/ann-1/correct_choice", json=WRONG)
            host.run("DELETE FROM published_items WHERE pub_id = 'ann-2'")
            topic = run(host.url, "SELECT min(id) AS id FROM study_topics")[0]["id"]
            added = host.add("study_questions", study_topic_id=topic, subject="bones")["id"]
            host.add(
                "published_items", pub_id="ann-3", source_id=added, choices=["a", "b", "c"], correct_choice=1
            )
            assert "ann-1: key changed; 1 attempts of 1 learners" in server.post("/sync").text
            assert synced(server, "/sync?force") == "1 of 2 topics differed: 3 questions sent, 1 withdrawn"
            assert len(learned()) == 2
            assert [each["misses"] for each in copy.copy[user].values()] == [0, 0]

            second = upload(answer("ann-0", LATER), answer("ann-3", LATER))
            assert server.post("/uploads", json=second).status_code == 202
            until(lambda: standing(engine, second).status == "ingested", "it is ingested")
            assert [row[2] for row in learned()] == [2, 1, 1]
    engine.dispose()
