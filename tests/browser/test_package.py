"""What would be published of client/js: its types, its unit tests, its files and its size."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import Run

PACKAGE = Path(__file__).resolve().parents[2] / "client" / "js"
NPM, NODE = shutil.which("npm") or "", shutil.which("node") or ""
OLDEST_NODE = 20
LARGEST = 3 * 1024
MODULES = {"answer", "outbox", "store", "sw"}


@pytest.fixture(scope="module")
def installed() -> Path:
    if not NPM:
        pytest.skip("no npm is on the PATH: install Debian's package")
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node is {version.strip()}; the unit tests need {OLDEST_NODE}")
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return PACKAGE


def npm(*arguments: str) -> str:
    ran = subprocess.run(
        [NPM, "--silent", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_types_and_unit_tests_pass(installed: Path) -> None:
    assert installed
    npm("run", "check")


def test_what_is_published_has_types_and_resolves(installed: Path) -> None:
    assert installed
    npm("run", "published")
    (packed,) = json.loads(npm("pack", "--json", "--dry-run"))
    assert {each["path"] for each in packed["files"]} == {
        "README.md",
        "package.json",
        *(f"{name}.js" for name in MODULES),
        *(f"types/{name}.d.ts" for name in MODULES),
    }


def test_the_outbox_is_at_most_three_kilobytes(installed: Path, run: Run) -> None:
    esbuild = [installed / "node_modules/.bin/esbuild", "outbox.js", "--bundle", "--minify", "--format=esm"]
    made = subprocess.run(esbuild, cwd=installed, capture_output=True, check=True).stdout
    size = len(gzip.compress(made, 9, mtime=0))
    run.figure(f"{size} bytes, minified and compressed")
    assert size <= LARGEST
