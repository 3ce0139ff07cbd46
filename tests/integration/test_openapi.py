"""The API document is valid, complete and true; the page that shows it needs nothing from elsewhere."""

import re
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import Engine, text

from api.app import create_app
from api.errors import Kind as ProblemKind
from shared.config import Settings
from shared.webhooks import Kind, announce_progress
from tests.receiver import Receiver
from tests.webhooks import configured, deliver_due, finished_session

ENDPOINT = "/ingest/study/attempts"
# These show the document and are not what it is about.
UNDESCRIBED = {"/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui/<path:name>"}

DEAD_UPLOAD = text("""
    INSERT INTO outbox (kind, client_session_uuid)
    SELECT 'upload.dead', client_session_uuid FROM uploads
""")

# Pages for people.
OPS = "/ops"


@pytest.fixture
def document(web: httpx.Client) -> Any:
    return web.get("/openapi.json").json()


def judge(document: Any, name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema)


def examples(document: Any) -> list[tuple[dict[str, Any], Any]]:
    """List every schema that has examples with each of them."""
    schemas = document["components"]["schemas"].values()
    operations = [each for path in document["paths"].values() for each in path.values()]
    answers = [answer.get("content", {}) for each in operations for answer in each["responses"].values()]
    media = [each for content in answers for each in content.values()]
    return [(each, each["example"]) for each in schemas if "example" in each] + [
        (each["schema"], shown["value"]) for each in media for shown in each.get("examples", {}).values()
    ]


def test_the_document_is_valid_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described(document: Any, settings: Settings) -> None:
    app = create_app(settings)
    rules = {rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith(OPS)} - UNDESCRIBED
    assert {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules} == set(document["paths"])


def test_the_document_describes_every_webhook_as_it_is_sent(
    document: Any, engine: Engine, settings: Settings, receiver: Receiver
) -> None:
    finished_session(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET status = 'dead', user_id = NULL, result = NULL"))
        connection.execute(DEAD_UPLOAD)
        announce_progress(connection, "0")
    deliver_due(engine, configured(settings, webhook_url=receiver.url))
    assert {request.json()["type"] for request in receiver.requests} == {*document["webhooks"]} == {*Kind}
    for request in receiver.verified():
        described = document["webhooks"][request.json()["type"]]["post"]
        (media,) = described["requestBody"]["content"].values()
        judge(document, media["schema"]["$ref"].rpartition("/")[2]).validate(request.json())
        assert {each["name"] for each in described["parameters"]} <= request.headers.keys()


def test_every_example_is_what_its_schema_says(document: Any) -> None:
    shown = examples(document)
    assert len(shown) > 20
    for schema, example in shown:
        Draft202012Validator(schema | {"components": document["components"]}).validate(example)


def test_the_documented_example_is_accepted(web: httpx.Client, document: Any) -> None:
    assert web.post(ENDPOINT, json=document["components"]["schemas"]["Upload"]["example"]).status_code == 202


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("selected", -1),
        ("selected", 32768),
        ("selected", "2"),
        ("pub_id", ""),
        ("pub_id", "q" * 201),
        ("unsure", "false"),
        ("answered_at", "2026-11-22T09:00:41"),
        ("answered_at", 1795305641),
    ],
)
def test_the_schema_refuses_what_the_route_refuses(
    web: httpx.Client, document: Any, field: str, wrong: object
) -> None:
    body = document["components"]["schemas"]["Upload"]["example"]
    upload = body | {"attempts": [body["attempts"][0] | {field: wrong}]}

    assert judge(document, "Upload").is_valid(body)
    assert not judge(document, "Upload").is_valid(upload)
    assert web.post(ENDPOINT, json=upload).status_code == 422


def test_the_schema_states_its_limits(document: Any) -> None:
    upload = document["components"]["schemas"]["Upload"]
    assert upload["required"] == ["client_session_uuid", "attempts"]
    assert (upload["properties"]["attempts"]["minItems"], upload["properties"]["attempts"]["maxItems"]) == (
        1,
        500,
    )
    assert document["components"]["schemas"]["Attempt"]["required"] == [
        "pub_id",
        "selected",
        "unsure",
        "answered_at",
    ]


def test_each_problem_type_leads_to_its_explanation(web: httpx.Client) -> None:
    for kind in ProblemKind:
        explanation = web.get(kind.type).json()
        assert (explanation["title"], explanation["status"]) == (kind.title, kind.status)


def test_the_page_asks_nothing_of_another_site(web: httpx.Client) -> None:
    page = web.get("/docs")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 4
    for address in assets:
        assert address.startswith("docs/")  # relative, for a page behind a path
        assert web.get(f"/{address}").status_code == 200
