"""`./dev` in odd places; a shell script stands for uv."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT


def dev(checkout: Path, uv: str, study_ingest: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of `./dev` in the C locale, with these programs."""
    programs = {checkout / "bin" / "uv": uv, checkout / ".venv" / "bin" / "study-ingest": study_ingest}
    for program, source in programs.items():
        program.parent.mkdir(parents=True)
        program.write_text(source)
        program.chmod(0o755)
    shutil.copy(ROOT / "dev", checkout)
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, checkout / "dev", "--version"],
        env=os.environ | {"PATH": path, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_interpreter_out_of_reach_is_named_with_its_fix(tmp_path: Path) -> None:
    ran = dev(tmp_path, "#!/bin/sh\n", f"#!{tmp_path}/nowhere/python\n")
    assert (ran.returncode, "Traceback" in ran.stderr) == (1, False), ran.stderr
    assert "copy the checkout to a place of your own" in ran.stderr


def test_uv_gets_a_locale_that_can_read_the_path(tmp_path: Path) -> None:
    says = "#!/bin/sh\necho $LC_ALL\n"
    for name, locale in (("é", "C.UTF-8"), ("e", "C")):
        assert dev(tmp_path / name, says, says).stdout.split() == [locale] * 2
