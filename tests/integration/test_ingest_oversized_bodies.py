"""Bodies over the limit, announced or chunked, and requests that are no HTTP: refused as problems."""

import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from api.app import MAX_BODY
from api.server import MAX_BUFFERED_BODY
from shared.payload import EXAMPLE_UPLOAD

ENDPOINT = "/ingest/study/attempts"
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /ingest/study/attempts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer-token\r\n"


def an_upload_of(size: int) -> bytes:
    upload = json.dumps(EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4()), "unknown": ""}).encode()
    return upload[:-2] + b"x" * (size - len(upload)) + b'"}'


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM uploads")) or 0)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_the_limit_is_taken_whole(web: httpx.Client, engine: Engine, *, chunked: bool) -> None:
    body = an_upload_of(MAX_BODY)
    assert web.post(ENDPOINT, content=chunks(body) if chunked else body, headers=JSON).status_code == 202
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT payload FROM uploads")) == json.loads(body)


@pytest.mark.parametrize("size", [MAX_BODY + 1, 2 * MAX_BODY])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_body_is_413_and_not_cut_short(
    web: httpx.Client, engine: Engine, size: int, *, chunked: bool
) -> None:
    # Cut at the limit, the rest would still be an upload: only blanks follow it.
    body = an_upload_of(MAX_BODY).ljust(size)

    response = web.post(ENDPOINT, content=chunks(body) if chunked else body, headers=JSON)

    assert (response.status_code, response.json()["type"]) == (413, "/problems/body-too-large")
    assert count(engine) == 0


def exchange(web: httpx.Client, request: bytes) -> httpx.Response:
    """Send bytes as they are, and read the answer to its end."""
    with socket.create_connection((web.base_url.host, web.base_url.port or 80)) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


CHUNKED = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
MAX_HEAD = 256 * 1024  # waitress's own limit

# Where a limit is meant, not a byte more than it is sent: closing on unread bytes would reset the connection.
NO_HTTP = {
    "far too large, announced": (413, HEAD + b"Content-Length: %d\r\n\r\n" % (10 * MAX_BUFFERED_BODY)),
    "far too large, chunked": (413, CHUNKED + (b"%x\r\n" % (2 * MAX_BUFFERED_BODY)).ljust(MAX_BUFFERED_BODY)),
    "a chunk of no size": (400, CHUNKED + b"viewer-token\r\n"),
    "another transfer encoding": (501, HEAD + b"Transfer-Encoding: gzip\r\n\r\n"),
    "a length that is no number": (400, HEAD + b"Content-Length: -1\r\n\r\n"),
    "a bare line feed in a header": (400, HEAD + b"X: viewer-token\nY: 1\r\n\r\n"),
    "endless headers": (431, (HEAD + b"X: ").ljust(MAX_HEAD, b"x")),
}


@pytest.mark.parametrize(("status", "request_bytes"), NO_HTTP.values(), ids=NO_HTTP)
def test_what_the_server_refuses_is_a_problem_that_quotes_nothing(
    web: httpx.Client, engine: Engine, status: int, request_bytes: bytes
) -> None:
    response = exchange(web, request_bytes)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert "viewer-token" not in response.text
    assert count(engine) == 0
