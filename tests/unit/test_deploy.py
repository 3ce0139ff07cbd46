"""What deploys the processes knows them all, and an operator's settings; nothing is accepted unless set."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cli.local.up import read_procfile
from shared.config import Settings, Timings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = ROOT / "deploy" / "systemd"
FLOWER = {f"FLOWER_{name}" for name in ("BASIC_AUTH", "ADDRESS", "PORT", "DB", "READ_ONLY")}
NAMES = {name.upper() for name in Settings.model_fields if name not in Timings.model_fields} | FLOWER
# Every secret, and the processes that need it.
STORES = {"web", "worker", "sweeper"}
SECRETS = {
    "DATABASE_URL": STORES,
    "BROKER_URL": STORES | {"flower"},
    "REDIS_URL": STORES,
    "VIEWER_SYNC_TOKEN": {"web"},
    "STUDY_API_TOKEN": {"web"},
    "OPS_PASSWORD": {"web"},
    "METRICS_TOKEN": {"web"},
    "WEBHOOK_SECRETS": {"sweeper"},
    "FLOWER_BASIC_AUTH": {"flower"},
}
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


def units() -> dict[str, list[str]]:
    return {
        path.stem.removeprefix("study-ingest-"): path.read_text().splitlines()
        for path in UNITS.glob("*.service")
    }


def settings_in(example: str) -> set[str]:
    lines = (UNITS / example).read_text().splitlines()
    return {line.removeprefix("#").partition("=")[0] for line in lines if re.match(r"#?[A-Z_]+=", line)}


def test_the_examples_name_an_operators_settings_and_accept_nothing() -> None:
    examples = [path.name for path in UNITS.glob("*.example")]
    assert set().union(*map(settings_in, examples)) == NAMES
    assert "#STUDY_INGEST_ENABLED=" in (UNITS / "web.environment.example").read_text().splitlines()


def test_no_process_has_a_secret_of_another() -> None:
    files = {
        name: {line.rpartition("/")[2] for line in unit if line.startswith("EnvironmentFile=")}
        for name, unit in units().items()
    }
    assert files == {
        "web": {"environment", "web.environment"},
        "worker": {"environment"},
        "sweeper": {"environment", "sweeper.environment"},
        "flower": {"flower.environment"},
    }
    has = {
        name: set().union(*(settings_in(f"{file}.example") for file in each)) for name, each in files.items()
    }
    for secret, owners in SECRETS.items():
        assert {name for name, settings in has.items() if secret in settings} == owners


def test_each_unit_has_a_home_that_it_can_read() -> None:
    for name, unit in units().items():
        state = next(line for line in unit if line.startswith("StateDirectory=")).partition("=")[2]
        assert (name, f"Environment=HOME=/var/lib/{state}" in unit) == (name, True)
        assert (name == "flower") == (state == "study-ingest-flower")


@pytest.mark.skipif(not Path("/usr/bin/systemd-analyze").exists(), reason="systemd-analyze is not installed")
def test_systemd_calls_each_unit_safe() -> None:
    ran = subprocess.run(
        ["/usr/bin/systemd-analyze", "security", "--offline=true", "--no-pager", *UNITS.glob("*.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    exposures = re.findall(r"Overall exposure level for study-ingest-(\w+).service: ([\d.]+)", ran.stdout)
    assert {name for name, exposure in exposures if float(exposure) <= 2.0} == set(units()), ran.stderr
