"""The Python outbox judges every answer as client/vectors.json says, as the one in JavaScript does."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study_outbox import Action, Answer, judge, pause_after, retry_after

CLIENT = Path(__file__).resolve().parents[2] / "client"
VECTORS = json.loads((CLIENT / "vectors.json").read_text())
OURS = {202, 200}
JUDGE_ALL = """
    import { readFileSync } from "node:fs";
    import { judge } from "./answer.js";
    const { id, answers } = JSON.parse(readFileSync(0, "utf-8"));
    console.log(JSON.stringify(answers.map((answer) => judge(id, answer)[0])));
"""


@pytest.mark.parametrize("vector", VECTORS["answers"], ids=lambda vector: vector["name"])
def test_an_answer_is_judged_as_the_vectors_say(vector: dict[str, Any]) -> None:
    action, body = judge(VECTORS["id"], Answer(vector["status"], vector["type"], vector["text"]))
    assert action == vector["action"]
    if action is Action.REFUSE:
        assert body["type"].startswith("/problems/")


@pytest.mark.parametrize("vector", VECTORS["retry_after"], ids=lambda vector: vector["header"])
def test_a_retry_after_is_read_as_the_vectors_say(vector: dict[str, Any]) -> None:
    assert retry_after(vector["header"]) == pytest.approx(vector["seconds"])


JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.just(VECTORS["id"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["client_session_uuid", "type", "x"]), inner)
    ),
    max_leaves=5,
)


@given(
    st.integers(0, 599),
    st.sampled_from(["application/json", "text/html", ""]),
    JSON.map(json.dumps) | st.text(),
)
def test_nothing_but_our_own_answer_deletes(status: int, kind: str, text: str) -> None:
    action, body = judge(VECTORS["id"], Answer(status, kind, text))
    if action is Action.DELETE:
        assert status in OURS
        assert kind == "application/json"
        assert body["client_session_uuid"] == VECTORS["id"]


def any_answer(rng: random.Random) -> dict[str, Any]:
    """Make an answer of one of the vectors' bodies, whole or damaged, with any status and type."""
    text = rng.choice(VECTORS["answers"])["text"]
    damages = [
        text,
        text[: rng.randrange(len(text) + 1)],
        text[rng.randrange(len(text) + 1) :],
        text.upper(),
        f"[{text}]",
        f'{{"data": {text or "null"}}}',
        text + text,
        text.replace("6f1c", "6f1d"),
        f"<html>{text}</html>",
        text.encode("utf-16-le").decode("latin-1"),
    ]
    types = ["application/json", "APPLICATION/problem+JSON;charset=x", "text/html", "text/json-seq", ""]
    return {
        "status": rng.choice([200, 202, 422, rng.choice(VECTORS["answers"])["status"], rng.randrange(1000)]),
        "type": rng.choice(types),
        "text": rng.choice(damages),
    }


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_both_outboxes_judge_any_answer_alike() -> None:
    rng = random.Random(6)
    answers = [any_answer(rng) for _ in range(5000)]
    node = [shutil.which("node") or "", "--input-type=module", "--eval", JUDGE_ALL]
    asked = json.dumps({"id": VECTORS["id"], "answers": answers})
    ran = subprocess.run(node, cwd=CLIENT / "js", input=asked, capture_output=True, text=True, check=True)
    actions = [judge(VECTORS["id"], Answer(**answer))[0] for answer in answers]
    assert [*zip(json.loads(ran.stdout), answers, strict=True)] == [*zip(actions, answers, strict=True)]
    assert {*actions} == {*Action}


@given(
    st.text(max_size=30) | st.sampled_from(["nan", "inf", "-inf", "1e999", "Wed, 21 Oct 9999 07:28:00 GMT"])
)
def test_a_retry_after_is_an_hour_at_most(header: str) -> None:
    assert 0 <= retry_after(header) <= 3600


def test_a_pause_grows_to_a_minute() -> None:
    for rounds in range(2000):
        assert 0 <= pause_after(rounds) <= min(60, 2**rounds)
    assert max(pause_after(6) for _ in range(200)) > 30
