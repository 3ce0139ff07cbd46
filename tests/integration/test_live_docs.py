"""docs/live.md says what happens: its requests are sent, in order, and answered as it shows."""

import json
import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.errors import MEDIA_TYPE
from shared import errors
from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile
from shared.config import Settings
from tests.clients import Clock

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text()
CATALOG = re.findall(r"```json\n(\{\"users.*?)```", PAGE, re.DOTALL)
EXCHANGES = re.findall(r"```console\n\$ (curl .*?)\n```\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)


def request_of(command: str, web: httpx.Client, token: str) -> httpx.Request:
    """Read a curl command as curl does."""
    words = shlex.split(command.replace("\\\n", " ").replace("$STUDY_API_TOKEN", token))
    options = [pair for pair in pairwise(words) if pair[0].startswith("-")]
    (address,) = (word for word in words if word.startswith("$API"))
    body = [value for name, value in options if name == "-d"]
    method = next((value for name, value in options if name == "-X"), "POST" if body else "GET")
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    return web.build_request(method, address.removeprefix("$API"), headers=headers, content="".join(body))


@pytest.fixture
def answers(
    serve: Callable[[Flask, Settings], httpx.Client], settings: Settings, engine: Engine
) -> list[httpx.Response]:
    with engine.begin() as connection:
        load_catalog(connection, CatalogFile.model_validate_json(CATALOG[0]))
    clock = Clock()
    web = serve(create_app(settings, clock), settings)
    got = []
    for command, _ in EXCHANGES:
        clock.advance(seconds=10)
        got.append(web.send(request_of(command, web, "study-token-of-tests")))
    return got


def test_every_request_is_answered_as_shown(answers: list[httpx.Response]) -> None:
    got, shown = [response.json() for response in answers], [json.loads(each) for _, each in EXCHANGES]
    for one, other in zip(got, shown, strict=True):
        if isinstance(one, dict) and one.get("voided_at"):  # by Postgres' clock, which no test sets
            one["voided_at"] = other["voided_at"]
    assert got == shown
    assert {response.status_code for response in answers} == {200, 201}


def test_every_route_has_a_line(answers: list[httpx.Response], settings: Settings) -> None:
    rules = create_app(settings).url_map.bind("")
    shown = [
        rules.match(urlsplit(str(answer.url)).path, method=answer.request.method)[0] for answer in answers
    ]
    live = {rule.endpoint for rule in rules.map.iter_rules() if rule.endpoint.startswith("live.")}
    assert set(shown) == live


def test_every_problem_of_the_live_side_is_documented(settings: Settings) -> None:
    paths = create_app(settings).api_doc["paths"]
    answered = [
        slug
        for path in paths
        for operation in paths[path].values()
        for response in operation["responses"].values()
        for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
        if path.startswith("/study/")
    ]
    rows = re.findall(r"^\| \d+ \| (.*?) \|", PAGE, re.MULTILINE)
    documented = {slug for row in rows for slug in re.findall(r"[a-z-]+", row.replace("/problems/", ""))}
    assert documented == set(answered) - {"internal-error", "not-found"}


def test_every_python_line_is_real() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    imports = "\n".join(line for line in block.splitlines() if line.startswith("from "))
    exec(imports, {})  # noqa: S102  # our own page
    compile(block, "live.md", "exec")
    assert errors.__name__ in PAGE
