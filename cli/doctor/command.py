"""The command: look at everything, print it, and say by the exit code whether anything fails."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from cli.datadir import NothingRunningError
from cli.doctor.broker import look_at_broker
from cli.doctor.configuration import faults, left_out
from cli.doctor.finding import Finding, line
from cli.doctor.postgres import look_at_postgres, seconds_since_sweep
from cli.doctor.processes import look_at_processes
from cli.doctor.redis import look_at_spool
from cli.doctor.web import look_at_web
from cli.stores import adopt, data_dir_option
from shared.broker import make_celery
from shared.config import Settings, load_settings
from shared.errors import ConfigurationError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@data_dir_option
def doctor(data_dir: Path, *, as_json: bool) -> None:
    """Check settings, stores and processes; name what is wrong and its mend. Exit 1 if anything fails."""
    with suppress(NothingRunningError):  # then the settings that are missing are the finding
        adopt(data_dir)
    sick = False
    for finding in _examine():
        click.echo(json.dumps(finding._asdict()) if as_json else line(finding))
        sick = sick or finding.level == "fail"
    if sick:
        raise click.exceptions.Exit(1)


def _examine() -> Iterator[Finding]:
    try:
        settings: Settings = load_settings(Settings)
    except ConfigurationError as error:
        yield from faults(error)
    else:
        yield from examine(settings, os.environ.get("API_URL") or _served_at(settings))


def _served_at(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def examine(settings: Settings, web: str) -> Iterator[Finding]:
    """Look at everything that these settings name, and at the web process there."""
    yield from left_out(settings)
    yield from look_at_postgres(settings)
    if settings.redis_url:
        yield from look_at_spool(settings.redis_url)
    app = make_celery(settings)
    broker = list(look_at_broker(app))
    yield from broker
    if broker[0].level == "ok":
        yield from look_at_processes(app, settings, seconds_since_sweep(settings))
    yield look_at_web(settings, web)
