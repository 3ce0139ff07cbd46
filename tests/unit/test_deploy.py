"""What deploys the processes knows them all, and an operator's settings; nothing is accepted unless set."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.local.up import read_procfile
from shared.config import AdvancedSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = ROOT / "deploy" / "systemd"
FLOWER = {f"FLOWER_{name}" for name in ("BASIC_AUTH", "ADDRESS", "PORT")}
NAMES = {name.upper() for name in Settings.model_fields if name not in AdvancedSettings.model_fields} | FLOWER
# Every secret, and the processes that need it.
STORES = {"web", "worker", "sweeper"}
SECRETS = {
    "DATABASE_URL": STORES,
    "BROKER_URL": STORES | {"flower"},
    "REDIS_URL": STORES,
    "VIEWER_SYNC_TOKEN": {"web"},
    "STUDY_API_TOKEN": {"web"},
    "CATALOG_TOKEN": {"web"},
    "OPS_PASSWORD": {"web"},
    "METRICS_TOKEN": {"web"},
    "WEBHOOK_SECRETS": {"sweeper"},
    "FLOWER_BASIC_AUTH": {"flower"},
}
REMAP = "env REMAP_SIGTERM=SIGQUIT "


def test_compose_hands_each_process_its_own_settings() -> None:
    procfile = read_procfile()
    services = COMPOSE["services"]
    assert set(services) == {*procfile, "postgres", "redis", "migrate"}
    for name, command in procfile.items():
        service = services[name]
        assert service["command"] == command
        assert "env_file" not in service
        assert set(service["environment"]) <= NAMES | {"PGPASSWORD", "FLOWER_DB"}
        for secret, owners in SECRETS.items():
            assert (secret, secret in service["environment"]) == (
                secret,
                name in owners and secret != "METRICS_TOKEN",
            )
    given = set().union(*(services[name]["environment"] for name in procfile))
    assert NAMES - given == {"PROMETHEUS_MULTIPROC_DIR", "METRICS_TOKEN"}
    assert services["web"]["environment"]["STUDY_INGEST_ENABLED"] is None


def test_compose_restricts_and_watches_every_container() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert ("healthcheck" in service) == (name != "migrate"), name
        assert ("cap_add" in service) == (name in {"postgres", "redis"}), name
    assert re.findall(r"\$\{[^}]*\$\{", (ROOT / "compose.yaml").read_text()) == []


def test_the_images_of_the_processes_are_pinned_and_slim() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM")}
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    pinned = re.search(r"uv==[\d.]+", (ROOT / "dev").read_text())
    assert pinned
    assert any(pinned.group() in line for line in lines)
    assert "USER study-ingest" in lines
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert copied >= {"api", "cli", "migrations", "shared", "worker", "Procfile"}
    assert copied.isdisjoint({".", "tests", "benchmarks", ".data"})


def test_the_grants_of_the_documents_are_those_of_compose() -> None:
    (documented,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    executed = (ROOT / "deploy" / "postgres" / "role.sql").read_text()
    assert documented.strip() in executed


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


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("systemd-analyze is not installed")
    command = ["/usr/bin/systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_understands_each_unit(tmp_path: Path) -> None:
    for path in UNITS.glob("*.service"):
        unit = path.read_text().replace("/opt/study-ingest/.venv", sys.prefix)
        (tmp_path / path.name).write_text(unit)
    ran = analyze("verify", "--man=no", "--recursive-errors=no", *tmp_path.iterdir())
    assert (ran.returncode, ran.stderr) == (0, "")


def test_systemd_calls_each_unit_safe() -> None:
    ran = analyze("security", "--offline=true", "--no-pager", *UNITS.glob("*.service"))
    exposures = re.findall(r"Overall exposure level for study-ingest-(\w+).service: ([\d.]+)", ran.stdout)
    assert {name for name, exposure in exposures if float(exposure) <= 2.0} == set(units()), ran.stderr
