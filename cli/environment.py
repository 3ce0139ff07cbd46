"""The environment in which `up` runs its processes."""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cli.ports import LOOPBACK, free_port
from cli.servers import Servers

FLOWER_DB = "flower.db"
METRICS = "metrics"


def _new_token() -> str:
    return secrets.token_urlsafe(24)


SECRETS: Mapping[str, Callable[[], str]] = {
    "VIEWER_SYNC_TOKEN": _new_token,
    "STUDY_API_TOKEN": _new_token,
    "OPS_PASSWORD": _new_token,
    "METRICS_TOKEN": _new_token,
    "FLOWER_BASIC_AUTH": lambda: f"operator:{_new_token()}",
}


def stores(servers: Servers) -> dict[str, str]:
    """Name the stores: our own environment's, else the embedded ones; a foreign broker has no spool."""
    redis = "" if os.environ.get("BROKER_URL") else servers.redis_url
    return {
        "DATABASE_URL": os.environ.get("DATABASE_URL") or servers.database_url,
        "BROKER_URL": os.environ.get("BROKER_URL") or servers.broker_url,
        "REDIS_URL": os.environ.get("REDIS_URL") or redis,
    }


def addresses(port: int, last: Mapping[str, str]) -> dict[str, str]:
    """Say where the web process and Flower listen; Flower stays where it was `last`, if it can.

    At first it takes any free port: two that start at once would both find its usual one free.
    """
    flower = free_port(urlsplit(last.get("FLOWER_URL", "")).port)
    return {"API_URL": f"http://{LOOPBACK}:{port}", "FLOWER_URL": f"http://{LOOPBACK}:{flower}"}


def tokens(last: Mapping[str, str]) -> dict[str, str]:
    """Take each token from our own environment, else the last one, else make one."""
    return {name: os.environ.get(name) or last.get(name) or new() for name, new in SECRETS.items()}


def process_environment(shown: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return what the processes get: ours, what `up` shows in its file, and what only they need."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        **shown,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "STUDY_INGEST_ENABLED": "1",
        "HOST": LOOPBACK,
        "PORT": str(urlsplit(shown["API_URL"]).port),
        "FLOWER_ADDRESS": LOOPBACK,
        "FLOWER_PORT": str(urlsplit(shown["FLOWER_URL"]).port),
        "FLOWER_DB": str(home / FLOWER_DB),
        "METRICS_DIR": str(home / METRICS),
    }
