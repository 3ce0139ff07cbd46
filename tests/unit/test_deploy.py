"""What deploys the processes knows them all, and an operator's settings; nothing is accepted unless set."""

from pathlib import Path

import yaml

from cli.local.up import read_procfile
from shared.config import Settings, Timings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = ROOT / "deploy" / "systemd"
FLOWER = {f"FLOWER_{name}" for name in ("BASIC_AUTH", "ADDRESS", "PORT", "DB", "READ_ONLY")}
NAMES = {name.upper() for name in Settings.model_fields if name not in Timings.model_fields} | FLOWER
REMAP = "env REMAP_SIGTERM=SIGQUIT "


def test_compose_hands_the_settings_to_every_process() -> None:
    procfile = read_procfile()
    assert set(COMPOSE["services"]) == {*procfile, "postgres", "redis", "migrate"}
    for name, command in procfile.items():
        service = COMPOSE["services"][name]
        assert service["command"] == command
        assert service["env_file"] == ".env"
        assert set(service["environment"]) < NAMES
        assert "STUDY_INGEST_ENABLED" not in service["environment"]


def test_systemd_runs_every_process_of_the_procfile() -> None:
    target = (UNITS / "study-ingest.target").read_text()
    procfile = read_procfile()
    assert {path.name for path in UNITS.glob("*.service")} == {
        f"study-ingest-{name}.service" for name in procfile
    }
    for name, command in procfile.items():
        unit = (UNITS / f"study-ingest-{name}.service").read_text().splitlines()
        words = command.removeprefix(REMAP).replace("%h", "%%h")
        assert f"ExecStart=/opt/study-ingest/.venv/bin/{words}" in unit
        assert ("Environment=REMAP_SIGTERM=SIGQUIT" in unit) == command.startswith(REMAP)
        assert f"study-ingest-{name}.service" in target


def test_the_example_of_an_environment_names_an_operators_settings_and_accepts_nothing() -> None:
    lines = (UNITS / "environment.example").read_text().splitlines()
    named = {line.removeprefix("#").partition("=")[0] for line in lines if "=" in line}
    assert named == NAMES
    assert "#STUDY_INGEST_ENABLED=" in lines
