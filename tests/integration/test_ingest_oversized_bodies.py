"""Bodies over the limit, announced or chunked, and requests that are no HTTP: refused as problems."""

import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from api.schemas import MAX_BODY
from api.server import MAX_FORM
from shared.payload import EXAMPLE_UPLOAD

ENDPOINT = "/ingest/study/attempts"
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /ingest/study/attempts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer-token-of-tests\r\n"


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


@pytest.mark.parametrize("size", [MAX_BODY + 1, 2 * MAX_BODY, 20 * MAX_BODY])
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


TYPE = b"Content-Type: application/json\r\n"
CHUNKED = HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
MAX_HEAD = 256 * 1024  # waitress's own limit

NO_HTTP = {
    "far too large, announced": (413, HEAD + TYPE + b"Content-Length: %d\r\n\r\n" % (10 * MAX_BODY)),
    "far too large, chunked": (413, CHUNKED + (b"%x\r\n" % (3 * MAX_BODY)).ljust(3 * MAX_BODY)),
    "a chunk of no size": (400, CHUNKED + b"viewer-token-of-tests\r\n"),
    "another transfer encoding": (501, HEAD + b"Transfer-Encoding: gzip\r\n\r\n"),
    "a length that is no number": (400, HEAD + b"Content-Length: -1\r\n\r\n"),
    "a length of 5,000 digits": (400, HEAD + b"Content-Length: %s\r\n\r\n" % (b"9" * 5000)),
    "a host that is none": (400, HEAD.replace(b"POST ", b"POST http://[viewer-token-of-tests") + b"\r\n"),
    "a bare line feed in a header": (400, HEAD + b"X: viewer-token-of-tests\nY: 1\r\n\r\n"),
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
    assert "viewer-token-of-tests" not in response.text
    assert count(engine) == 0


STRANGER = HEAD.replace(b"viewer-token-of-tests", b"viewer-token-of-tests1")
LENGTH = b"Content-Length: %d\r\n\r\n" % MAX_BODY
BODIES = {
    "announced": LENGTH,
    "announced, and asked for": b"Expect: 100-continue\r\n" + LENGTH,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n",
    "small": b"Content-Length: 1\r\n\r\n",
    "both": b"Transfer-Encoding: chunked\r\n" + LENGTH,
}


@pytest.mark.parametrize("announced", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (STRANGER, 401),
        (STRANGER.replace(b"ingest/study/attempts", b"study/users/1/sessions"), 401),
        (STRANGER.replace(b"Authorization", b"X"), 401),
        (STRANGER.replace(b"/ingest", b"/elsewhere"), 404),
    ],
)
def test_without_a_token_the_answer_comes_before_the_body_is_read(
    web: httpx.Client, head: bytes, status: int, announced: bytes
) -> None:
    response = exchange(web, head + TYPE + announced)
    assert (response.status_code, response.headers["Connection"]) == (status, "close")


def test_a_form_of_an_operator_needs_no_token_and_is_small(web: httpx.Client) -> None:
    for size, status in [(MAX_FORM, 404), (MAX_FORM + 1, 404)]:  # there is no page without a password
        head = b"POST /ops/login HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        with socket.create_connection((web.base_url.host, web.base_url.port or 80)) as connection:
            connection.sendall(head)
            connection.settimeout(0.5 if size == MAX_FORM else 20)
            try:
                answered = bool(connection.recv(1))
            except TimeoutError:
                answered = False
        assert answered is (size > MAX_FORM), status


def test_what_follows_a_body_that_is_not_read_is_no_next_request(web: httpx.Client, engine: Engine) -> None:
    upload = json.dumps(EXAMPLE_UPLOAD).encode()
    hidden = HEAD + TYPE + b"Content-Length: %d\r\n\r\n" % len(upload) + upload
    response = exchange(web, STRANGER + LENGTH + hidden * 3)
    assert response.status_code == 401
    large = HEAD + TYPE + b"Content-Length: %d\r\n\r\n" % (2 * MAX_BODY)
    assert exchange(web, large + hidden).status_code == 413
    assert count(engine) == 0


UPLOAD = json.dumps(EXAMPLE_UPLOAD).encode()
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(UPLOAD), UPLOAD)


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        (b"1.1", b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % len(CHUNK), 202),
        (b"1.1", b"Content-Length: 5\r\ntransfer-encoding: Chunked\r\n", 202),
        (b"1.0", b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", 400),
        (b"1.0", b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nContent-Length: 5\r\n", 400),
        (b"1.1", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 6\r\n", 202),
    ],
)
def test_a_request_whose_end_is_doubtful_is_the_last_of_its_connection(
    web: httpx.Client, engine: Engine, version: bytes, headers: bytes, status: int
) -> None:
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/" + version) + TYPE + headers
    hidden = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    response = exchange(web, head + b"\r\n" + CHUNK + hidden)
    assert (response.status_code, response.headers["Connection"]) == (status, "close")
    assert b"HTTP/1.1 200" not in response.content
    assert count(engine) == (status == 202)


def test_a_coding_without_a_name_is_as_doubtful(web: httpx.Client) -> None:
    response = exchange(web, HEAD + TYPE + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\n{}")
    assert response.headers["Connection"] == "close"
