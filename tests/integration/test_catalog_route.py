"""The catalog over HTTP: loaded, compared, withdrawn, and refused row by row."""

import gzip
import json
import re
import time
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from api.app import create_app
from cli import catalog_sync
from cli.main import main
from shared.config import Settings
from shared.models import StudyQuestion, StudyTopic, User
from tests.clients import OTHER_TOPIC, TOPIC, Clock, refusal
from tests.factories import (
    ANN,
    CATALOG,
    RIGHT,
    WRONG,
    answer,
    everything,
    ingest,
    load,
    question,
    rows,
    upload,
)

TOKEN = "catalog-token-of-tests"
AT = "2026-11-19T09:00:00Z"
SLOW_S = 0.1
Serve = Callable[..., httpx.Client]


@pytest.fixture
def server(serve: Serve, settings: Settings, clock: Clock) -> httpx.Client:
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKEN})
    web = serve(create_app(settings, clock), settings)
    web.headers["Authorization"] = f"Bearer {TOKEN}"
    return web


def put(server: httpx.Client, catalog: Any, **query: Any) -> httpx.Response:
    return server.put("/catalog", json=catalog, params=query)


def digest(server: httpx.Client, topic: int) -> str:
    (found,) = server.get("/catalog/digest", params={"after": topic - 1, "limit": 1}).json()["topics"]
    return f'"{found["digest"]}"'


def test_a_catalog_is_loaded_and_loading_it_again_changes_nothing(
    server: httpx.Client, engine: Engine
) -> None:
    catalog = {name: list(each) for name, each in CATALOG.items()}
    loaded = put(server, catalog)
    assert loaded.json() == {
        "learners": 3,
        "topics": 6,
        "questions": 12,
        "editions": 12,
        "changes": [],
        "digests": [],
    }
    before = everything(engine)
    assert put(server, catalog).json() == loaded.json()
    assert everything(engine) == before


def test_the_date_of_an_exam_is_loaded(server: httpx.Client, engine: Engine) -> None:
    topics = [{"id": 9, "user_id": ANN, "name": "t", "exam_on": "2027-02-01"}]
    assert put(server, {"users": [{"id": ANN}], "topics": topics * 2}).status_code == 200
    assert [row["exam_on"] for row in rows(engine, StudyTopic)] == [date(2027, 2, 1)]


def test_an_integer_may_be_written_with_a_point(server: httpx.Client, engine: Engine) -> None:
    catalog = json.dumps({name: list(each) for name, each in CATALOG.items()})
    pointed = re.sub(r'("\w*id": |"correct_choice": )(\d+)', r"\1\2.0", catalog)
    json_type = {"Content-Type": "application/json"}
    assert server.put("/catalog", content=pointed, headers=json_type).status_code == 200
    before = everything(engine)
    assert put(server, json.loads(catalog)).status_code == 200
    assert everything(engine) == before
    for wrong in ("1.5", "1e999", "NaN"):
        odd = pointed.replace('"correct_choice": 1.0', f'"correct_choice": {wrong}')
        assert odd != pointed
        assert server.put("/catalog", content=odd, headers=json_type).status_code in {400, 422}


def test_a_changed_key_is_refused_until_forced_and_a_dry_run_says_what_it_would_do(
    server: httpx.Client, engine: Engine
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT, RIGHT)))
    changed = {"questions": [question(110, correct_choice=WRONG)]}
    said = [{"pub_id": "q110", "changes": ["key"], "attempts": 1, "learners": 1, "asked": 0}]
    assert put(server, changed, dry_run=True).json()["changes"] == said
    refused = put(server, changed)
    assert refusal(refused) == (422, "invalid-catalog")
    assert refused.json()["errors"][0]["pointer"] == "/questions/0"
    assert put(server, changed, force=True).json()["changes"] == said


@pytest.mark.parametrize(
    ("catalog", "pointers"),
    [
        ({"questions": [question(110), question(111, correct_choice=9)]}, ["/questions/1/editions/0"]),
        ({"topics": [{"id": 1, "user_id": 99, "name": "x"}]}, ["/topics/0"]),
        (
            {"questions": [question(110, study_topic_id=99), question(111, user_id=2)]},
            ["/questions/0", "/questions/1"],
        ),
        ({"topic": []}, ["/topic"]),
        ([], ["/"]),
    ],
)
def test_every_refused_row_is_pointed_at_and_nothing_is_written(
    server: httpx.Client, engine: Engine, catalog: Any, pointers: list[str]
) -> None:
    load(engine)
    before = everything(engine)
    refused = put(server, catalog)
    assert refusal(refused) == (422, "invalid-catalog")
    assert [each["pointer"] for each in refused.json()["errors"]] == pointers
    assert everything(engine) == before


def test_what_is_not_json_is_refused(server: httpx.Client) -> None:
    refused = server.put("/catalog", content=b"{", headers={"Content-Type": "application/json"})
    assert refusal(refused) == (422, "invalid-catalog")


def test_a_sync_finds_what_differs_and_withdraws_what_is_gone(server: httpx.Client, engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    before = {each["topic_id"]: each for each in server.get("/catalog/digest").json()["topics"]}
    assert server.get("/catalog/topics/11/questions").json() == {"ids": [110, 111]}
    assert server.delete("/catalog/questions/110").json() == {"deleted": 0, "retired": 1}
    assert server.delete("/catalog/questions/111").json() == {"deleted": 1, "retired": 0}
    after = {each["topic_id"]: each for each in server.get("/catalog/digest").json()["topics"]}
    assert {topic for topic in before if before[topic] != after[topic]} == {11}
    assert server.delete("/catalog/topics/12").json() == {"deleted": 1, "retired": 0}
    assert 12 not in {
        each["topic_id"] for each in server.get("/catalog/digest", params={"after": 11}).json()["topics"]
    }


RENAMED = {"topics": [{"id": TOPIC, "user_id": ANN, "name": "another name"}]}
CHANGES = [
    ("PUT", "/catalog", RENAMED),
    ("PUT", "/catalog", {"questions": [question(112)]}),
    ("PUT", f"/catalog/topics/{TOPIC}/questions", {"ids": [110]}),
    ("DELETE", "/catalog/questions/111", None),
    ("DELETE", f"/catalog/topics/{TOPIC}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_change_that_was_computed_against_another_state_of_its_topic_is_refused(
    server: httpx.Client, engine: Engine, method: str, path: str, body: Any
) -> None:
    load(engine)
    listed = server.get(f"/catalog/topics/{TOPIC}/questions").headers["ETag"]
    other = digest(server, OTHER_TOPIC)
    assert listed == digest(server, TOPIC)
    put(server, {"questions": [question(110, exam_frequency=0.5)]})
    before, current = everything(engine), digest(server, TOPIC)
    for named in (listed, f"W/{current}", f"{current}, {other}", other, '"new"', ""):
        refused = server.request(method, path, json=body, headers={"If-Match": named})
        assert refusal(refused) == (412, "topic-changed")
        assert everything(engine) == before
    assert server.request(method, path, json=body, headers={"If-Match": current}).status_code == 200
    assert everything(engine) != before


def test_answers_to_guarded_changes_name_the_digests_that_they_leave(server: httpx.Client) -> None:
    catalog = {name: list(each) for name, each in CATALOG.items()}
    new = {"If-Match": '"new"'}
    first = server.put("/catalog", json=catalog, headers=new).json()["digests"]
    assert first == server.get("/catalog/digest").json()["topics"]
    assert refusal(server.put("/catalog", json=catalog, headers=new)) == (412, "topic-changed")
    every = {"If-Match": ", ".join(f'"{each["digest"]}"' for each in first)}
    assert server.put("/catalog", json=catalog, headers=every).json()["digests"] == first
    dry = "/catalog?dry_run=true"
    assert refusal(server.put(dry, json=catalog, headers=new)) == (412, "topic-changed")
    assert server.put(dry, json=catalog, headers=every).json()["digests"] == first
    assert put(server, catalog).json()["digests"] == []
    path = f"/catalog/topics/{TOPIC}/questions"
    kept = server.put(path, json={"ids": [110]}, headers={"If-Match": digest(server, TOPIC)})
    assert kept.json() == {"deleted": 1, "retired": 0}
    assert kept.headers["ETag"] == digest(server, TOPIC)


@pytest.mark.parametrize("ids", [[0], ["1"], [2**63], [1.5], None])
def test_what_is_no_list_of_questions_is_refused(server: httpx.Client, engine: Engine, ids: Any) -> None:
    load(engine)
    refused = server.put(f"/catalog/topics/{TOPIC}/questions", json={"ids": ids})
    assert refusal(refused) == (422, "invalid-request")


def test_a_learner_is_exported_and_deleted(server: httpx.Client, engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    exported = [json.loads(line) for line in server.get(f"/catalog/learners/{ANN}").text.splitlines()]
    assert {"users", "study_question_attempts", "uploads"} < {each["table"] for each in exported}
    receipt = {"sessions": 1, "attempts": 1, "progress": 1, "uploads": 1, "conflicts": 0, "spooled": 0}
    assert server.delete(f"/catalog/learners/{ANN}").json() == receipt
    assert all(row["user_id"] != ANN for row in rows(engine, StudyQuestion))
    assert server.get(f"/catalog/learners/{ANN}").text.count('"table": "users"') == 0


@pytest.mark.parametrize("path", ["/catalog/digest", "/catalog/topics/11/questions"])
def test_only_its_own_token_opens_it(server: httpx.Client, web: httpx.Client, path: str) -> None:
    assert refusal(web.get(path)) == (503, "catalog-closed")
    for token in ("study-token-of-tests", "viewer-token-of-tests", "x"):
        assert refusal(server.get(path, headers={"Authorization": f"Bearer {token}"})) == (
            401,
            "unauthenticated",
        )


def sync(server: httpx.Client, file: Path, catalog: Any, *words: str) -> Result:
    file.write_text(json.dumps(catalog))
    return synced(server, file, *words)


def synced(server: httpx.Client, file: Path, *words: str) -> Result:
    command = ["catalog", "sync", str(file), "--url", str(server.base_url), *words]
    return CliRunner().invoke(main, command, env={"CATALOG_TOKEN": TOKEN})


def test_sync_sends_what_differs_and_withdraws_what_the_file_does_not_have(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.json"
    assert "6 of 6 topics differed: 12 questions sent, 0 withdrawn" in sync(server, file, CATALOG).stdout
    assert "0 of 6 topics differed: 0 questions sent, 0 withdrawn" in sync(server, file, CATALOG).stdout
    ingest(engine, upload(answer("q110", AT)))
    rest = [each for each in CATALOG["questions"] if each["id"] not in {110, 111}]
    kept = {**CATALOG, "questions": [*rest, question(112)]}
    assert "1 of 6 topics differed: 1 questions sent, 2 withdrawn" in sync(server, file, kept).stdout
    assert "0 of 6 topics differed" in sync(server, file, kept).stdout
    assert {row["id"] for row in rows(engine, StudyQuestion) if row["study_topic_id"] == 11} == {110, 112}


def test_sync_of_a_table_keeps_what_a_table_cannot_say(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    said = {"exam_frequency": 0.5, "published_at": "2026-10-01T00:00:00Z"}
    questions = [question(110, **said), question(111), question(112)]
    topics = [{"id": TOPIC, "user_id": ANN, "name": "t", "exam_on": "2027-02-01"}]
    load(engine, {"users": [{"id": ANN}], "topics": topics, "questions": questions})
    before, file = everything(engine), tmp_path / "catalog.csv"

    def sync_table(*questions: str) -> str:
        header = "learner,topic_id,topic,pub_id,id,subject,choices,key"
        file.write_text("\n".join([header, *(f"{ANN},{TOPIC},t,q{each}" for each in questions)]))
        return synced(server, file).stdout

    one, two, other = "110,110,subject 0,a|b|c|d,2", "111,111,subject 1,a|b|c|d,2", "112,112,x,a|b|c|d,2"
    same = sync_table(one, two, other.replace("x", "subject 0"))
    assert "0 of 1 topics differed: 3 questions sent, 0 withdrawn" in same
    assert everything(engine) == before
    ingest(engine, upload(answer("q111", AT)))
    assert "1 of 1 topics differed: 3 questions sent, 0 withdrawn" in sync_table(one, two, other)
    assert "1 of 1 topics differed: 1 questions sent, 2 withdrawn" in sync_table(one)
    assert "0 of 1 topics differed" in sync_table(one)
    assert [row["retired_at"] is None for row in rows(engine, StudyQuestion)] == [True, False]
    assert "1 of 1 topics differed: 2 questions sent, 0 withdrawn" in sync_table(one, two)
    assert [row["retired_at"] for row in rows(engine, StudyQuestion)] == [None, None]
    after = everything(engine)
    load(engine, {"users": [{"id": ANN}], "topics": topics, "questions": questions[:2]})
    assert everything(engine) == after


def test_sync_withdraws_a_question_whose_edition_is_another_questions_now(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    load(engine)
    moved = [each for each in CATALOG["questions"] if each["id"] != 111]
    file, catalog = tmp_path / "catalog.json", {**CATALOG, "questions": [*moved, question(112, "q111")]}
    assert "3 questions sent, 1 withdrawn" in sync(server, file, catalog).stdout
    assert {row["id"] for row in rows(engine, StudyQuestion) if row["study_topic_id"] == 11} == {110, 112}
    assert "0 of 6 topics differed" in sync(server, file, catalog).stdout


@pytest.mark.parametrize("retired_at", [None, "2020-01-01T00:00:00Z"])
def test_sync_refuses_questions_of_a_topic_that_the_file_does_not_have(
    server: httpx.Client, engine: Engine, tmp_path: Path, retired_at: str | None
) -> None:
    """They would stay behind without a word: only topics of the file are compared."""
    load(engine)
    alone = {"questions": [question(112) | {"retired_at": retired_at}]}
    refused = sync(server, tmp_path / "c.json", alone)
    assert refused.exit_code == 1
    assert "`topics` has no entry for topic 11, although the file has questions of it" in refused.stderr


def test_sync_refuses_a_question_of_two_topics(server: httpx.Client, engine: Engine, tmp_path: Path) -> None:
    """In requests of their own, each would take it from the other topic, at every sync."""
    load(engine)
    before, file = everything(engine), tmp_path / "catalog.ndjson"
    twice = question(112, subject="changed") | {"study_topic_id": OTHER_TOPIC}
    parts = [CATALOG, {"questions": [question(112)]}, {"questions": [twice]}]
    file.write_text("\n".join(map(json.dumps, parts)))
    refused = synced(server, file)
    assert (refused.exit_code, "question 112: has entries in two topics" in refused.stderr) == (1, True)
    assert everything(engine) == before


def test_sync_reads_lines(server: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "catalog.ndjson.gz"
    rows_of = [(name, row) for name, each in CATALOG.items() for row in each]
    lines = [json.dumps({name: [row]}) for name, row in reversed(rows_of)]
    file.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    assert "6 of 6 topics differed: 12 questions sent, 0 withdrawn" in synced(server, file).stdout
    assert "0 of 6 topics differed: 0 questions sent, 0 withdrawn" in synced(server, file).stdout
    plain = tmp_path / "catalog.ndjson"
    plain.write_text("\n".join([*lines, "{"]))
    refused = synced(server, plain)
    assert refused.exit_code == 1
    assert f"line {len(lines) + 1}: column 2" in refused.stderr


def test_sync_cuts_what_it_sends(
    server: httpx.Client, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.catalog_sync.MAX_REQUEST", 300)
    monkeypatch.setattr("cli.catalog_sync.MAX_TOPICS", 2)
    assert "6 of 6 topics differed: 12 questions" in sync(server, tmp_path / "c.json", CATALOG).stdout
    assert "0 of 6 topics differed" in sync(server, tmp_path / "c.json", CATALOG).stdout
    load(engine)
    assert "0 of 6 topics differed" in sync(server, tmp_path / "c.json", CATALOG).stdout


@pytest.fixture
def many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sync of the small catalog need as many requests as one of a large catalog."""
    monkeypatch.setattr(catalog_sync, "MAX_REQUEST", 300)


@pytest.mark.usefixtures("many_requests")
def test_I12_sync_leaves_half_of_the_time_to_others(serve: Serve, settings: Settings, tmp_path: Path) -> None:
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKEN})
    web = create_app(settings)
    answer_at_once, spans = web.wsgi_app, []

    def answer_slowly(*request: Any) -> Any:
        begun = time.monotonic()
        time.sleep(SLOW_S)
        try:
            return answer_at_once(*request)
        finally:
            if request[0]["REQUEST_METHOD"] == "PUT":
                spans.append((begun, time.monotonic()))

    server = serve(web, settings)
    web.wsgi_app = answer_slowly  # type: ignore[method-assign]  # to be slow is the point
    assert "6 of 6 topics differed: 12 questions" in sync(server, tmp_path / "c.json", CATALOG).stdout
    assert len(spans) > 1
    assert all(begun - ended >= SLOW_S for (_, ended), (begun, _) in pairwise(spans))


class Between:
    """Run something after the n-th request of a sync."""

    def __init__(self, app: Any, number: int, run: Callable[[], object]) -> None:
        self.app = app
        self.number = number
        self.run = run
        self.requests = 0

    def __call__(self, *request: Any) -> Any:
        answered = self.app(*request)
        self.requests += 1
        if self.requests == self.number:
            self.run()
        return answered


def test_sync_sends_one_request_for_a_changed_topic_and_no_withdrawal(
    serve: Serve, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    load(engine)
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKEN})
    web = create_app(settings)
    counted = Between(web.wsgi_app, 0, list)
    web.wsgi_app = counted  # type: ignore[method-assign]  # to count is the point
    changed = [each | {"subject": "changed"} if each["id"] == 110 else each for each in CATALOG["questions"]]
    done = sync(serve(web, settings), tmp_path / "c.json", {**CATALOG, "questions": changed})
    assert "1 of 6 topics differed" in done.stdout
    assert counted.requests == len(["the time", "the digests", "the topic"])


@pytest.mark.parametrize("after", range(2, 8))  # the first request asks for the time alone
@pytest.mark.usefixtures("many_requests")
def test_of_two_syncs_at_once_none_undoes_the_other_silently(
    serve: Serve, settings: Settings, engine: Engine, tmp_path: Path, after: int
) -> None:
    load(engine)
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKEN})
    web, other = (create_app(settings) for _ in range(2))
    one = {**CATALOG, "questions": [question(110, subject="one"), question(113), *CATALOG["questions"][3:]]}
    two = {**CATALOG, "questions": [question(110, subject="two"), question(112), *CATALOG["questions"][3:]]}
    theirs: list[Result] = []

    def sync_the_other() -> None:
        theirs.append(sync(serve(other, settings), tmp_path / "two.json", two))

    counted = Between(web.wsgi_app, after, sync_the_other)
    web.wsgi_app = counted  # type: ignore[method-assign]  # to come between is the point
    ours = sync(serve(web, settings), tmp_path / "one.json", one)
    assert [each.exit_code for each in theirs] == [0] * (after <= counted.requests)
    kept = {
        row["id"]: row["subject"] for row in rows(engine, StudyQuestion) if row["study_topic_id"] == TOPIC
    }
    if after < counted.requests or ours.exit_code:
        assert (ours.exit_code, "If-Match does not have the present digest" in ours.stderr) == (1, True)
    assert kept == ({110: "two", 112: "subject 0"} if theirs else {110: "one", 113: "subject 1"})


def test_sync_says_in_lines_what_the_server_refuses(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT, RIGHT)))
    changed = [
        each | {"correct_choice": WRONG} if each["pub_id"] == "q110" else each
        for each in CATALOG["questions"]
    ]
    refused = sync(server, tmp_path / "c.json", {**CATALOG, "questions": changed})
    assert refused.exit_code == 1
    assert "/questions/0: q110: key changed; 1 attempts of 1 learners are graded again" in refused.stderr
    forced = sync(server, tmp_path / "c.json", {**CATALOG, "questions": changed}, "--force")
    assert "q110: key changed" in forced.stdout
    away = httpx.Client(base_url="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer" in sync(away, tmp_path / "c.json", CATALOG).stderr


def test_I12_sync_sends_other_topics_although_one_is_refused(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT, RIGHT)))
    before = [row for row in rows(engine, StudyQuestion) if row["study_topic_id"] == TOPIC]
    questions = [
        each
        | ({"correct_choice": WRONG} if each["pub_id"] == "q110" else {})
        | ({"subject": "another"} if each["study_topic_id"] == OTHER_TOPIC else {})
        for each in CATALOG["questions"]
        if each["pub_id"] != "q111"  # not withdrawn, as its topic is refused
    ]
    catalog = {**CATALOG, "users": [*CATALOG["users"], {"id": 99}], "questions": questions}
    refused = sync(server, tmp_path / "c.json", catalog)
    assert refused.exit_code == 1
    assert refused.stderr.count("q110: key changed; 1 attempts of 1 learners are graded again") == 1
    assert "If-Match" not in refused.stderr
    after = rows(engine, StudyQuestion)
    assert [row for row in after if row["study_topic_id"] == TOPIC] == before
    assert {row["subject"] for row in after if row["study_topic_id"] == OTHER_TOPIC} == {"another"}
    assert 99 in {row["id"] for row in rows(engine, User)}
    assert sync(server, tmp_path / "c.json", catalog, "--force").exit_code == 0
    assert "0 of 6 topics differed" in sync(server, tmp_path / "c.json", catalog).stdout


def test_I12_sync_sends_other_topics_although_a_question_is_too_large_for_a_request(
    server: httpx.Client, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(engine)
    monkeypatch.setattr("api.schemas.MAX_BODY", 8000)
    large = question(113, choices=["x" * 9000, "b", "c", "d"])
    changed = [each | {"subject": "another"} for each in CATALOG["questions"]]
    refused = sync(server, tmp_path / "c.json", {**CATALOG, "questions": [*changed, large]})
    assert refused.exit_code == 1
    assert "too large" in refused.stderr
    others = [row["subject"] for row in rows(engine, StudyQuestion) if row["study_topic_id"] != TOPIC]
    assert {*others} == {"another"}


def test_sync_withdraws_no_question_that_moves_to_a_refused_topic(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    load(engine)
    ingest(engine, upload(answer("q120", AT, RIGHT)))
    moved = [
        each
        | ({"correct_choice": WRONG} if each["pub_id"] == "q120" else {})  # refused
        | ({"study_topic_id": OTHER_TOPIC} if each["pub_id"] == "q111" else {})
        for each in CATALOG["questions"]
        if each["id"] != 110
    ]
    assert sync(server, tmp_path / "c.json", {**CATALOG, "questions": moved}).exit_code == 1
    of_topic = {row["id"] for row in rows(engine, StudyQuestion) if row["study_topic_id"] == TOPIC}
    assert of_topic == {111}


def test_sync_deletes_no_question_that_changes_places_with_one_of_a_large_topic(
    server: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    many = [
        question(
            12000 + number,
            f"m{number}",
            user_id=ANN,
            study_topic_id=OTHER_TOPIC,
            choices=["x" * 1000, "y" * 1000],
        )
        for number in range(40)
    ]
    catalog = {**CATALOG, "questions": [*CATALOG["questions"], *many]}
    load(engine, catalog)
    new = [each | {"subject": "new"} for each in many]
    rest = [each for each in CATALOG["questions"] if each["pub_id"] not in {"q111", "q120"}]
    swapped = [question(111, study_topic_id=OTHER_TOPIC), *new[20:], question(120, study_topic_id=TOPIC)]
    after = {**catalog, "questions": [*rest, *new[:20], *swapped]}
    sync(server, tmp_path / "c.json", after)
    assert {111, 120} <= {row["id"] for row in rows(engine, StudyQuestion)}
    assert sync(server, tmp_path / "c.json", after).exit_code == 0
    topics = {row["id"]: row["study_topic_id"] for row in rows(engine, StudyQuestion)}
    assert (topics[111], topics[120]) == (OTHER_TOPIC, TOPIC)


def test_I12_sync_sends_other_learners_although_one_is_refused(
    serve: Serve, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """A server with older time zones may refuse a learner."""
    load(engine)
    settings = Settings.model_validate(settings.model_dump() | {"catalog_token": TOKEN})
    web = create_app(settings)

    @web.before_request
    def refuse() -> tuple[dict[str, str], int] | None:
        return ({"title": "refused"}, 422) if b'"id":98' in flask.request.get_data() else None

    catalog = {**CATALOG, "users": [*CATALOG["users"], {"id": 98}, {"id": 99}]}
    done = sync(serve(web, settings), tmp_path / "c.json", catalog)
    assert (done.exit_code, done.stderr) == (1, "Error: PUT /catalog: refused\n")
    assert {98, 99} & {row["id"] for row in rows(engine, User)} == {99}


def test_I12_sync_withdraws_from_other_topics_although_a_large_one_is_refused(
    server: httpx.Client, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_sync, "MAX_REQUEST", 5000)
    monkeypatch.setattr("api.schemas.MAX_BODY", 8000)  # less than the ids of the refused topic
    many = [
        question(10**15 + number, f"m{number}", user_id=ANN, study_topic_id=OTHER_TOPIC)
        for number in range(600)
    ]
    catalog = {**CATALOG, "questions": [*CATALOG["questions"], *many, question(112)]}
    load(engine, catalog)
    ingest(engine, upload(answer("m0", AT)))
    after = [
        each | ({"correct_choice": WRONG} if each["pub_id"] == "m0" else {})
        for each in catalog["questions"]
        if each["pub_id"] != "q112"
    ]
    refused = sync(server, tmp_path / "c.json", {**catalog, "questions": after})
    assert (refused.exit_code, "m0: key changed" in refused.stderr) == (1, True)
    assert 112 not in {row["id"] for row in rows(engine, StudyQuestion)}
