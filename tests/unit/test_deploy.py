"""What deploys the processes knows every setting and every process; nothing is accepted unless told so."""

from pathlib import Path

import yaml

from cli.local.up import read_procfile
from shared.config import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = ROOT / "deploy" / "systemd"
NAMES = {name.upper() for name in Settings.model_fields}
REMAP = "env REMAP_SIGTERM=SIGQUIT "


def test_compose_hands_every_setting_to_every_process() -> None:
    for name, command in read_procfile().items():
        service = COMPOSE["services"][name]
        assert service["command"] == command
        assert set(service["environment"]) == NAMES
        assert service["environment"]["STUDY_INGEST_ENABLED"] == "${STUDY_INGEST_ENABLED:-}"


def test_systemd_runs_every_process_of_the_procfile() -> None:
    target = (UNITS / "study-ingest.target").read_text()
    for name, command in read_procfile().items():
        unit = (UNITS / f"study-ingest-{name}.service").read_text().splitlines()
        words = command.removeprefix(REMAP).replace("%h", "%%h")
        assert f"ExecStart=/opt/study-ingest/.venv/bin/{words}" in unit
        assert ("Environment=REMAP_SIGTERM=SIGQUIT" in unit) == command.startswith(REMAP)
        assert f"study-ingest-{name}.service" in target


def test_the_example_of_an_environment_names_every_setting_and_accepts_nothing() -> None:
    lines = (UNITS / "environment.example").read_text().splitlines()
    named = {line.removeprefix("#").partition("=")[0] for line in lines if "=" in line}
    assert named == NAMES
    assert "#STUDY_INGEST_ENABLED=" in lines
