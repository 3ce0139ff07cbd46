"""What users see stays as tests/snapshots says, until a commit changes it on purpose."""

# ruff: noqa: SLF001  # prometheus_client shows the labels of a metric nowhere else before their first values

import ast
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import Engine

from api.app import create_app
from cli.main import main
from shared.config import Settings
from tests.factories import IMPOSSIBLE, WRONG, answer, deliver, ingest, load, upload

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "cli", "shared", "worker")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
AT = "2026-11-20T09:00:00Z"


def compare(name: str, lines: Iterable[str]) -> None:
    """Compare with a snapshot; where UPDATE_SNAPSHOTS is set, write it instead and fail all the same."""
    snapshot, now = ROOT / "tests" / "snapshots" / name, list(lines)
    where = snapshot.relative_to(ROOT)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.write_text("\n".join([*now, ""]))
        pytest.fail(f"{where} is written: read its diff, then run again without UPDATE_SNAPSHOTS")
    before = snapshot.read_text().splitlines() if snapshot.exists() else []
    if difference := list(unified_diff(before, now, str(where), "now", lineterm="")):
        how = f"UPDATE_SNAPSHOTS=1 ./dev test {Path(__file__).relative_to(ROOT)}"
        pytest.fail(
            "\n".join([f"{where} differs; to accept what is below: {how}", *difference]), pytrace=False
        )


def commands(command: click.Command = main, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """List every command of the CLI with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in sorted(command.list_commands(context)):
            _, each, _ = command.resolve_command(context, [name])
            assert each is not None
            yield from commands(each, *path, name)


def test_the_api_document(settings: Settings) -> None:
    document = create_app(settings).test_client().get("/openapi.json").json
    compare("openapi.json", json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).splitlines())


def test_the_help_of_every_command() -> None:
    lines = []
    for path, command in commands():
        command._help_option = None  # click keeps that of another test, without -h
        shown = CliRunner().invoke(main, [*path, "--help"], prog_name="study-ingest", terminal_width=100)
        assert shown.exit_code == 0, shown.output
        lines += [" ".join(["$ study-ingest", *path, "--help"]), *shown.stdout.splitlines(), ""]
    compare("help.txt", lines[:-1])


def logged(source: str) -> Iterator[str]:
    """Find the calls of a logger: the event, its level, its fields."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        logger = ast.unparse(call.func.value).rpartition(".")[2].strip("_")
        if logger in {"log", "logger"} and call.func.attr in LEVELS:
            event = ast.literal_eval(call.args[0])  # fails at an event whose name is not static
            fields = sorted(each.arg or f"**{ast.unparse(each.value)}" for each in call.keywords)
            yield " ".join([event, call.func.attr, *fields])


def test_the_log_events_and_their_fields() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    events = {line for file in files for line in logged(file.read_text("utf-8"))}
    compare("log_events.txt", sorted(events))


def test_the_metrics(settings: Settings, tmp_path: Path) -> None:
    found = set()
    for metric in REGISTRY._collector_to_names:
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("study_ingest"):
            name = metric._name + "_total" * (metric._type == "counter")
            found.add(" ".join([metric._type, name, *metric._labelnames]))
    served = {"prometheus_multiproc_dir": str(tmp_path), "metrics_token": SecretStr("metrics-token-of-tests")}
    client = create_app(settings.model_copy(update=served)).test_client()
    page = client.get("/metrics", headers={"Authorization": "Bearer metrics-token-of-tests"})
    for family in text_string_to_metric_families(page.text):
        found.add(" ".join([family.type, family.name, *family.samples[0].labels]))
    compare("metrics.txt", sorted(found))


def shape(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """List the paths of a JSON value, each with the type that stands there."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from shape(each, f"{path}.{name}")
    elif isinstance(value, list):
        yield path, "list"
        for each in value:
            yield from shape(each, f"{path}[]")
    else:
        yield path, "null" if value is None else type(value).__name__


def test_the_json_of_every_command(engine: Engine, settings: Settings) -> None:
    load(engine)
    sent = upload(
        answer("q111", AT, WRONG), answer("second110", AT), answer("q999", AT), answer("q120", AT, IMPOSSIBLE)
    )
    uuid = sent["client_session_uuid"]
    ingest(engine, sent)
    deliver(engine, sent | {"attempts": [answer("q110", AT)]})  # a conflict
    ingest(engine, upload(answer("q999", AT)))  # rejected
    deliver(engine, upload(answer("q110", AT)))  # waiting
    env = {name: getattr(settings, name.lower()) for name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL")}
    asked = (
        ["conflicts", "list", "--json"],
        ["doctor", "--json"],  # the other settings are missing: that is a finding
        ["webhooks", "list", "--status", "waiting", "--json"],
        ["progress", "--user", "1"],
        ["stats", "--json"],
        ["uploads", "list", "--json"],
        ["uploads", "show", uuid, "--json", "--payload"],
    )
    with_json = {path for path, each in commands() if any("--json" in param.opts for param in each.params)}
    unasked = {path for path in with_json if not any(tuple(words[: len(path)]) == path for words in asked)}
    assert not unasked
    lines = []
    for words in asked:
        answers = CliRunner().invoke(main, words, env=env).stdout.splitlines()
        assert answers, words
        types = defaultdict(set)
        for path, kind in (found for line in answers for found in shape(json.loads(line))):
            types[path].add(kind)
        lines.append(" ".join(["$ study-ingest", *words]).replace(uuid, "UUID"))
        lines += [f"  {path}: {' | '.join(sorted(types[path]))}" for path in sorted(types)]
    compare("json.txt", lines)
