"""The commands of docs/adopting.md, as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from cli.local.servers import Servers
from shared.config import Settings
from tests import factories
from tests.factories import answer, upload
from tests.host.schema import tables
from tests.processes import ROOT, processes

PAGE = (ROOT / "docs" / "adopting.md").read_text()
AT = "2026-11-20T09:00:00Z"
TOKENS = {"CATALOG_TOKEN": "catalog-token-of-tests", "VIEWER_SYNC_TOKEN": "viewer-token-of-tests"}


def commands(section: str) -> list[str]:
    """Return the commands of each block of a section, as a script; lines without `$ ` are their output."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [re.findall(r"^\$ (?!export)(.*)$", block, re.MULTILINE) for block in blocks]
    return ["\n".join(each) for each in lines]


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(
    ("section", "pub_id", "shown"),
    [
        ("Nothing yet", "q110", '"pub_id": "q110"'),
        ("The same database", "ann-0", "2 learners, 0 differences\n0 differences"),
        ("A database apart", "q110", "6 of 6 topics differed: 12 questions sent, 0 withdrawn"),
    ],
)
def test_the_commands_of_a_way_work(  # noqa: PLR0917  # as many as it takes
    settings: Settings,
    servers: Servers,
    empty_database_url: str,
    tmp_path: Path,
    section: str,
    pub_id: str,
    shown: str,
) -> None:
    url = make_url(empty_database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    adopts = section == "The same database"
    settings = Settings.model_validate(
        settings.model_dump()
        | {"database_url": url, "database_schema": "learning" * adopts}
        | {"catalog_token": TOKENS["CATALOG_TOKEN"]}
    )
    (tmp_path / "catalog.json").write_text(json.dumps(factories.CATALOG))
    (tmp_path / "session.ndjson").write_text(json.dumps(upload(answer(pub_id, AT))))
    scripts = commands(section)
    with processes(settings, tmp_path) as house:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{servers.postgres.programs}"
        environment = house.environment() | TOKENS | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

        def run(script: str) -> str:
            ran = subprocess.run(
                ["/bin/sh", "-euc", script],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            return ran.stdout

        if adopts:
            psql = [servers.postgres.programs / "psql", "--dbname", url]
            subprocess.run(psql, input=tables("uuid"), text=True, check=True)
        before, *after = scripts if section != "A database apart" else ["study-ingest migrate", *scripts]
        run(before)
        web = house.serve()
        for name in ("worker", "sweeper"):
            house.start(name)
        environment["API_URL"] = web
        assert shown in "".join(run(each.replace("https://ingest.example", web)) for each in after)
    if adopts:
        assert len("\n".join(scripts).splitlines()) < 10
