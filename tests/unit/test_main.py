"""Ctrl-C while the commands are still being loaded."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.processes import ROOT

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def test_ctrl_c_during_the_imports_ends_without_a_traceback(tmp_path: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["study-ingest"].split(":")
    (tmp_path / "click.py").write_text(INTERRUPT)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (130, "")
