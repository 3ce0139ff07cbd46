"""The demo's last promise: a session answered live, and its twin that a viewer uploads, leave the same."""

import json
from typing import Any
from uuid import uuid4

from cli.lesson import Progress
from cli.sample import read_sample_catalog
from cli.stage import Stage
from shared.catalog_admin import CatalogFile, load_catalog

LIVE, VIEWER = 43, 44  # two learners beside the sample's own, with the same questions
QUESTIONS = 2  # of each subject: enough for a short session
ROOM = 1000  # for the ids of a learner's questions


def play_live_and_upload_the_twin(stage: Stage) -> None:
    """Answer a session live, upload the same answers for another learner, and compare."""
    for learner in (LIVE, VIEWER):
        load_catalog(stage.engine, twin_catalog(learner), default_zone=stage.default_zone)
    live = _play(stage)
    stage.say(f"{len(live['questions'])} questions answered live, one by one; the twin is one upload")
    upload = _twin(live)
    stage.deliver(json.dumps(upload))
    (twin,) = stage.sender.standing(upload["client_session_uuid"])["result"]["topics"]
    same = {name: twin[name] for name in live["snapshot"]} == live["snapshot"]
    stage.expect("both sessions have the same counts", kept=same)
    same = _unnamed(stage.progress(LIVE)) == _unnamed(stage.progress(VIEWER))
    stage.expect("both learners have the same progress, to the last digit", kept=same)


def twin_catalog(learner: int) -> CatalogFile:
    """Return the sample's first topic as a learner's own."""
    sample = read_sample_catalog().model_dump(mode="json")
    topic, *_ = sample["topics"]
    questions = [question for question in sample["questions"] if question["study_topic_id"] == topic["id"]]
    owned = {"user_id": learner, "study_topic_id": learner}
    return CatalogFile.model_validate(
        {
            "users": [{"id": learner, "time_zone": sample["users"][0]["time_zone"]}],
            "topics": [{"id": learner, "user_id": learner, "name": topic["name"]}],
            "questions": [
                question | owned | {"id": learner * ROOM + place, "pub_id": f"{learner}-{question['pub_id']}"}
                for place, question in enumerate(questions)
            ],
        }
    )


def _play(stage: Stage) -> dict[str, Any]:
    wish = {"study_topic_id": LIVE, "target_per_subject": QUESTIONS}
    session = stage.study(f"/study/users/{LIVE}/sessions", wish)
    place = f"/study/users/{LIVE}/sessions/{session['session_id']}"
    for number, question in enumerate(session["questions"]):
        stage.study(f"{place}/attempts", {"pub_id": question["pub_id"]} | _answer(number, question))
    stage.study(f"{place}/finalize")
    return stage.study(place, method="GET")


def _answer(number: int, question: dict[str, Any]) -> dict[str, Any]:
    """Answer now this, now that: sure, unsure, and not at all."""
    choice = number % (len(question["choices"]) + 1)
    return {"selected": choice if choice < len(question["choices"]) else None, "unsure": number % 3 == 0}


def _twin(session: dict[str, Any]) -> dict[str, Any]:
    answered = [(question["pub_id"], question["answer"]) for question in session["questions"]]
    return {
        "client_session_uuid": str(uuid4()),
        "attempts": [
            {
                "pub_id": pub_id.replace(str(LIVE), str(VIEWER), 1),
                "selected": answer["selected"],
                "unsure": answer["unsure"],
                "answered_at": answer["answered_at"],
            }
            for pub_id, answer in answered
        ],
    }


def _unnamed(progress: Progress) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "pub_id"} for line in progress.values()]
