"""Find the stores that a command works on: those of the environment, else those of a running `up`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine

from cli.datadir import DEFAULT_DIRECTORY, read_env
from cli.sender import Sender
from shared.config import StoreSettings, load_settings
from shared.db import make_engine

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Data directory of the `up` to work with, where the environment names no stores.",
)


def adopt(data_dir: Path) -> None:
    """Complete the environment with that of a running `up`, unless it names its own database."""
    if not os.environ.get("DATABASE_URL"):
        for name, value in read_env(data_dir).items():
            os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True)
class Store:
    """The database of a command, and the time zone of learners who have none of their own."""

    engine: Engine
    default_zone: str


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `store`."""

    @data_dir_option
    @wraps(command)
    def run(*args: Any, data_dir: Path, **options: Any) -> Any:
        adopt(data_dir)
        settings = load_settings(StoreSettings)
        engine = make_engine(settings, scanning=True)
        try:
            return command(*args, store=Store(engine, settings.study_time_zone), **options)
        finally:
            engine.dispose()

    return run


def with_sender(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `sender` to the server that it names, or to that of a running `up`."""

    @click.option("--url", envvar="API_URL", help="The server; by default that of a running `up`.")
    @click.option("--token", envvar="VIEWER_SYNC_TOKEN", help="A viewer's token; by default likewise.")
    @data_dir_option
    @wraps(command)
    def run(*args: Any, url: str | None, token: str | None, data_dir: Path, **options: Any) -> Any:
        running = {} if url and token else read_env(data_dir)
        token = (token or running["VIEWER_SYNC_TOKEN"]).split(",")[0].strip()
        with Sender(url or running["API_URL"], token) as sender:
            return command(*args, sender=sender, **options)

    return run
