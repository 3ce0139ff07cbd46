"""What would be published of the Python outbox: its modules and their types, and httpx as the only need."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT

UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@pytest.mark.skipif(not Path(UV).exists(), reason="no uv")
def test_the_wheel_has_the_modules_and_their_types_alone(tmp_path: Path) -> None:
    command = [UV, "build", "--quiet", "--package", "study-outbox", "--out-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist() if name.startswith("study_outbox/")}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        needs = [line for line in archive.read(metadata).decode().splitlines() if "Requires-Dist" in line]
    assert names == {"__init__.py", "answer.py", "outbox.py", "store.py", "py.typed"}
    assert needs == ["Requires-Dist: httpx>=0.28"]
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert not [name for name in archive.getnames() if "test" in name or "pycache" in name]
    script = "import study_outbox; print(study_outbox.__file__)"
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(str(wheel))
