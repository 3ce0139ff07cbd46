"""A server that a command talks to: its address, the headers of a request, and a bar while many are sent."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import click
import httpx

from shared.errors import ConfigurationError

LARGEST_PORT = 65535
T = TypeVar("T")


def read_server(url: str) -> httpx.URL:
    """Read the address of a server; raise ConfigurationError if it cannot be one."""
    try:
        server = httpx.URL(url.rstrip("/"))
        # As the standard library does, whose error httpx does not expect.
        server.raw_host.decode().encode("idna")
    except (httpx.InvalidURL, ValueError):
        server = httpx.URL()
    if server.scheme not in {"http", "https"} or not server.host or (server.port or 0) > LARGEST_PORT:
        raise ConfigurationError(f"{url!r} is not a server's address such as http://host:8000")
    return server


def make_headers(token: str) -> dict[str, str]:
    """Return the headers of a request; raise ConfigurationError if no header can hold the token."""
    if not (token.isascii() and token.isprintable()):
        raise ConfigurationError(
            "the token has a character that no header can hold: use printable ASCII only"
        )
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def first_token(tokens: str) -> str:
    """Return the first of several tokens, separated by commas."""
    return tokens.split(",", maxsplit=1)[0].strip()


def track(items: Iterable[T], number: int, what: str) -> Iterator[T]:
    """Yield the items; draw a progress bar on a terminal, and nothing elsewhere."""
    is_terminal = sys.stderr.isatty()
    with click.progressbar(items, number, what, hidden=not is_terminal, file=sys.stderr) as tracked:
        yield from tracked
