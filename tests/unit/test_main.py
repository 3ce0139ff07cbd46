"""The command line loads only what a command needs, and may be interrupted while it does."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from cli.catalog import COMMANDS as CATALOG_COMMANDS
from cli.catalog import catalog
from cli.main import COMMANDS, main
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


HEAVY = {"alembic", "celery", "gevent", "httpx", "kombu", "psycopg", "pydantic", "redis", "sqlalchemy"}


@pytest.mark.parametrize("code", ["cli.main.main(['--help'], standalone_mode=False)", "import cli.local.up"])
def test_help_and_the_supervisor_of_up_load_nothing_heavy(code: str) -> None:
    script = f"import sys, cli.main; {code}; print('loaded', *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = ran.stdout.rpartition("loaded")[2].split()
    assert HEAVY & set(loaded) == set()
    assert "cli.main" in loaded


def test_a_sync_of_the_catalog_loads_no_store() -> None:
    script = "import sys, cli.catalog_sync; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (HEAVY - {"httpx", "pydantic"}) & {*ran.stdout.split()} == set()


@pytest.mark.parametrize(("group", "commands"), [(main, COMMANDS), (catalog, CATALOG_COMMANDS)])
def test_each_command_is_where_the_list_says_and_its_help_begins_so(
    group: click.Group, commands: dict[str, tuple[str, str]]
) -> None:
    context = click.Context(group)
    for name, (_, line) in commands.items():
        listed, command, rest = group.resolve_command(context, [name, "more"])
        assert isinstance(command, click.Command)
        assert (listed, command.name, rest) == (name, name, ["more"])
        assert (command.help or "").startswith(line.rstrip("."))


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [("study-ingest ver", 1, "verify"), ("study-ingest verify --r", 2, "--repair")],
)
def test_a_shell_completes_commands_and_options(words: str, position: int, offered: str) -> None:
    variables = {"_STUDY_INGEST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    command = [str(Path(sys.executable).parent / "study-ingest")]
    ran = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    assert ran.stdout == f"plain,{offered}\n"
