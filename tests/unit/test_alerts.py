"""Every alert asks for metrics that are served, and has its mend in the operators' handbook."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import metrics

from shared.metrics import counted, stores

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULES = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]


def counted_names() -> set[str]:
    found = [each for each in vars(counted).values() if isinstance(each, metrics.MetricWrapperBase)]
    return {each.describe()[0].name + "_total" * isinstance(each, metrics.Counter) for each in found}


def looked_up_names() -> set[str]:
    source = Path(stores.__file__).read_text()
    return {f"{counted.SPACE}_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', source)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_served_and_has_its_mend(rule: dict[str, dict[str, str]]) -> None:
    asked = set(re.findall(r"study_ingest_\w+", str(rule["expr"])))
    assert asked or 'up{job="study-ingest"}' in rule["expr"]  # which Prometheus itself makes
    assert asked <= counted_names() | looked_up_names()
    assert rule["annotations"]["summary"]
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert operations.count(f"\n### {rule['alert']}\n") == 1


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool, of Prometheus, is not installed")
def test_prometheus_understands_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", FILE], capture_output=True, text=True, check=False)  # noqa: S607  # wherever it is
    assert done.returncode == 0, done.stdout + done.stderr
