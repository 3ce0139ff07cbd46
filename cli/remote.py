"""What a command needs to talk to a server: a client with its token, and a progress bar."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import click
import httpx

from shared.errors import ConfigurationError

LARGEST_PORT = 65535
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
T = TypeVar("T")


def connect(url: str, token: str, *, timeout: float) -> httpx.Client:
    """Make an HTTP client for a server; raise ConfigurationError if the address or the token is unusable."""
    server = _read_server(url)
    if not (token.isascii() and token.isprintable()):
        raise ConfigurationError(
            "the token has a character that no header can hold: use printable ASCII only"
        )
    is_local = server.host in LOOPBACK
    return httpx.Client(
        base_url=server,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        timeout=timeout,
        # A proxy that the environment names cannot reach a server on this machine's loopback address.
        mounts={"http://": None, "https://": None} if is_local else None,
        # HTTP to this machine needs no certificate authorities: loading them takes 50 ms.
        verify=server.scheme == "https" or not is_local,
    )


def _read_server(url: str) -> httpx.URL:
    try:
        server = httpx.URL(url.rstrip("/"))
        # The standard library does the same later, and httpx does not catch its error.
        server.raw_host.decode().encode("idna")
    except (httpx.InvalidURL, ValueError):
        server = httpx.URL()
    if server.scheme not in {"http", "https"} or not server.host or (server.port or 0) > LARGEST_PORT:
        raise ConfigurationError(f"{url!r} is not a server's address such as http://host:8000")
    return server


def first_token(tokens: str) -> str:
    """Return the first of several tokens, separated by commas."""
    return tokens.split(",", maxsplit=1)[0].strip()


def track(items: Iterable[T], number: int, what: str) -> AbstractContextManager[Iterable[T]]:
    """Draw a progress bar for the items on a terminal, and nothing elsewhere."""
    return click.progressbar(items, number, what, hidden=not sys.stderr.isatty(), file=sys.stderr)
