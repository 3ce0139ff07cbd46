"""Every alert asks for metrics that are served; the operators' handbook has its fix, and lists them all."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import metrics as prometheus

from shared import metrics

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "study-ingest.json"
FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
HISTORIES = Path(__file__).with_name("alerts_test.yml")
RULES = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]


def counted_names() -> set[str]:
    found = [each for each in vars(metrics).values() if isinstance(each, prometheus.MetricWrapperBase)]
    return {each.describe()[0].name + "_total" * isinstance(each, prometheus.Counter) for each in found}


def looked_up_names() -> set[str]:
    source = Path(metrics.__file__).read_text()
    return {f"{metrics.SPACE}_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', source)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_served_and_has_its_fix(rule: dict[str, dict[str, str]]) -> None:
    asked = set(re.findall(r"study_ingest_\w+", str(rule["expr"])))
    assert asked or 'up{job="study-ingest"}' in rule["expr"]  # which Prometheus itself makes
    assert asked <= counted_names() | looked_up_names()
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/operations.md#{rule['alert'].lower()}")
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert operations.count(f"\n### {rule['alert']}\n") == 1


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = set(re.findall(r"study_ingest_\w+", DASHBOARD.read_text()))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert families == counted_names() | looked_up_names()


def test_the_handbook_lists_every_metric() -> None:
    listed = re.findall(r"`(study_ingest_\w+)`", (ROOT / "docs" / "operations.md").read_text())
    assert set(listed) == counted_names() | looked_up_names()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool, of Prometheus, is not installed")
@pytest.mark.parametrize(
    "command", [["check", "rules", FILE], ["test", "rules", HISTORIES]], ids=["check", "test"]
)
def test_prometheus_understands_the_rules_and_they_fire_when_they_should(command: list[str | Path]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)  # noqa: S607  # wherever it is
    assert done.returncode == 0, done.stdout + done.stderr
