"""The sample: a learner's catalog, and their sessions; for `demo`, tests and screenshots."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from shared import catalog_form
from shared.catalog_form import CatalogFile

SAMPLE = Path(__file__).parent
ID_SPACE = 1000  # each learner's questions have this many ids


def read_catalog() -> CatalogFile:
    """Return the sample's learner, three topics and forty questions."""
    return catalog_form.read_catalog((SAMPLE / "catalog.json").read_bytes())


def earlier_uploads() -> list[str]:
    """Return the uploads of the weeks before the main upload, oldest first, as JSON texts."""
    return (SAMPLE / "earlier.ndjson").read_text("utf-8").splitlines()


def main_upload() -> str:
    """Return the upload that shows every outcome, every pattern, practice and an unknown question."""
    return (SAMPLE / "session.json").read_text("utf-8")


def catalog_of(learner: int) -> CatalogFile:
    """Return a catalog in which the sample's first topic belongs to this learner."""
    sample = read_catalog().model_dump(mode="json")
    topic, *_ = sample["topics"]
    questions = [each for each in sample["questions"] if each["study_topic_id"] == topic["id"]]
    owned = {"user_id": learner, "study_topic_id": learner}
    return CatalogFile.model_validate(
        {
            "users": [{"id": learner, "time_zone": sample["users"][0]["time_zone"]}],
            "topics": [{"id": learner, "user_id": learner, "name": topic["name"]}],
            "questions": [
                each
                | owned
                | {
                    "id": learner * ID_SPACE + number,
                    "editions": [
                        edition | {"pub_id": f"{learner}-{edition['pub_id']}"} for edition in each["editions"]
                    ],
                }
                for number, each in enumerate(questions)
            ],
        }
    )


def upload_of(session: dict[str, Any], learner: int, other: int) -> dict[str, Any]:
    """Make an upload of learner `other`, who repeats the answers that `learner` gave live."""
    attempts = [
        {"pub_id": question["pub_id"].replace(str(learner), str(other), 1)}
        | {name: question["answer"][name] for name in ("selected", "unsure", "answered_at")}
        for question in session["questions"]
    ]
    return {"client_session_uuid": str(uuid4()), "attempts": attempts}


def current_editions() -> dict[str, str]:
    """Map each public id of the sample to the public id of the same question's current edition."""
    return {edition.pub_id: question.editions[-1].pub_id for question, edition in read_catalog().editions}
