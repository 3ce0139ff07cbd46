"""The quiz page asks the sample's questions as the catalog has them."""

import json

from api.viewer import PAGE
from cli import sample


def test_the_page_has_the_newest_edition_of_each_question_of_the_sample() -> None:
    topics = json.loads((PAGE / "questions.json").read_text("utf-8"))
    shown = {each["pub_id"]: each["choices"] for topic in topics for each in topic["questions"]}
    catalog = sample.read_catalog()
    assert shown == {
        question.editions[-1].pub_id: question.editions[-1].choices for question in catalog.questions
    }
    assert [topic["name"] for topic in topics] == [topic.name for topic in catalog.topics]
