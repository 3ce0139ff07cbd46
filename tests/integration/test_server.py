"""The web process as an operator meets it: it starts or says why not, and ends without losing an answer."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from api.app import create_app
from api.server import MAX_CONNECTIONS, Server
from shared.config import Settings
from shared.payload import EXAMPLE_UPLOAD
from tests.processes import PATIENCE_S, until

ENDPOINT = "/ingest/study/attempts"
TOKEN = "viewer-token-of-tests"


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    return (
        os.environ
        | {
            "DATABASE_URL": settings.database_url,
            "BROKER_URL": settings.broker_url,
            "STUDY_INGEST_ENABLED": "true",
            "VIEWER_SYNC_TOKEN": TOKEN,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STORE_DEADLINE": str(settings.store_deadline),
        }
        | changes
    )


JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
COMMAND = [sys.executable, "-m", "api"]


@contextmanager
def process(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a web process, and tell its port."""
    with subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True) as web:
        assert web.stderr
        started = json.loads(web.stderr.readline())
        assert started["event"] == "web.started"
        try:
            yield web, started["port"]
        finally:
            web.kill()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"VIEWER_SYNC_TOKEN": " , "}, "VIEWER_SYNC_TOKEN"),
        ({"PORT": "many"}, "PORT"),
        ({"DATABASE_URL": "mysql://db/study?password=hidden"}, "DATABASE_URL"),
        ({"HOST": "256.0.0.1"}, "HOST"),
    ],
)
def test_it_refuses_to_start_with_a_wrong_configuration(
    settings: Settings, changes: dict[str, str], message: str
) -> None:
    ended = subprocess.run(
        COMMAND, env=environment(settings, **changes), capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hidden" not in ended.stderr


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = environment(settings, PORT=str(taken.getsockname()[1]))
        ended = subprocess.run(COMMAND, env=busy, capture_output=True, text=True, check=False)

    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert "in use" in ended.stderr


def request_of(body: bytes) -> bytes:
    lines = [f"POST {ENDPOINT} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def waits_for_a_lock(engine: Engine) -> bool:
    waiting = """SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()"""
    with engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_sigterm_lets_a_request_end_and_takes_no_new_one(settings: Settings, engine: Engine) -> None:
    patient = environment(settings, STORE_DEADLINE="60")
    with process(patient) as (web, port), engine.begin() as connection:
        connection.execute(text("LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE"))
        with socket.create_connection(("127.0.0.1", port)) as sender:
            sender.sendall(request_of(json.dumps(EXAMPLE_UPLOAD).encode()))
            until(lambda: waits_for_a_lock(engine), "the request waits")
            web.send_signal(signal.SIGTERM)
            until(lambda: not listens(port), "no new one is taken")
            connection.rollback()

            assert sender.recv(65536).startswith(b"HTTP/1.1 202 ")
        assert web.wait(PATIENCE_S) == 0


def test_sigterm_lets_requests_end_that_it_has_not_read_yet(settings: Settings) -> None:
    bodies = [json.dumps(EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())}).encode() for _ in range(10)]
    with process(environment(settings)) as (web, port), ExitStack() as stack:
        web.send_signal(signal.SIGSTOP)
        web.send_signal(signal.SIGTERM)
        senders = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in bodies]
        for sender, body in zip(senders, bodies, strict=True):
            sender.sendall(request_of(body))
        web.send_signal(signal.SIGCONT)
        assert [sender.recv(65536)[:13] for sender in senders] == [b"HTTP/1.1 202 "] * len(bodies)
        assert web.wait(PATIENCE_S) == 0


def test_sigterm_answers_readers_that_wait_for_changes(settings: Settings) -> None:
    reading = environment(settings, STUDY_API_TOKEN="study-token-of-tests")
    with process(reading) as (web, port):
        head = "Host: x\r\nAuthorization: Bearer study-token-of-tests\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(f"GET /study/changes?wait=30 HTTP/1.1\r\n{head}".encode())
            web.send_signal(signal.SIGTERM)
            assert reader.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert web.wait(PATIENCE_S) == 0


def test_clients_that_never_read_their_answers_block_no_other(settings: Settings) -> None:
    page = b"GET /docs/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with process(environment(settings, WEB_REQUESTS="2")) as (web, port), ExitStack() as stack:
        for _ in range(3):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sender.sendall(page * 20)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, timeout=PATIENCE_S) as client:
            assert [client.post(ENDPOINT, json=EXAMPLE_UPLOAD).status_code for _ in range(3)] == [202] * 3
        web.send_signal(signal.SIGTERM)
        assert web.wait(PATIENCE_S) == 0


def test_sigterm_ends_it_while_the_store_is_frozen(settings: Settings, engine: Engine) -> None:
    frozen = environment(settings, LOCK_TIMEOUT="600")
    with process(frozen) as (web, port), engine.begin() as connection:
        connection.execute(text("LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE"))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, timeout=PATIENCE_S) as client:
            address = f"{ENDPOINT}/{EXAMPLE_UPLOAD['client_session_uuid']}"
            assert [
                client.get(address).status_code,
                client.post(ENDPOINT, json=EXAMPLE_UPLOAD).status_code,
            ] == [
                503,
                503,
            ]
        web.send_signal(signal.SIGTERM)

        assert web.wait(PATIENCE_S) == 0


def test_I11_its_log_names_an_upload_and_nothing_of_its_content(settings: Settings) -> None:
    attempt = EXAMPLE_UPLOAD["attempts"][0] | {"pub_id": "q-marked"}
    upload = EXAMPLE_UPLOAD | {"attempts": [attempt], "note": "marked"}
    bodies = [
        json.dumps(upload),
        json.dumps(upload | {"started_at": None}),
        json.dumps(upload | {"marked": "\0"}),
    ]
    bodies += [json.dumps(upload)[:-1], json.dumps(upload | {"attempts": "marked"})]
    with process(environment(settings)) as (web, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=JSON, timeout=PATIENCE_S) as client:
            answers = [client.post(ENDPOINT, content=body, headers=BEARER) for body in bodies]
            answers.append(
                client.post(ENDPOINT, content=bodies[0], headers={"Authorization": "Bearer marked"})
            )
        web.send_signal(signal.SIGTERM)
        assert web.stderr
        log = web.stderr.read()

    assert [answer.status_code for answer in answers] == [202, 409, 422, 400, 422, 401]
    events = [json.loads(line) for line in log.splitlines()]
    refused = [event for event in events if event["event"] == "request.refused"]
    known = EXAMPLE_UPLOAD["client_session_uuid"]
    assert [(event["upload"], event["pointers"]) for event in refused] == [
        (known, []),  # the conflict
        (known, [""]),
        (None, []),
        (known, ["/attempts"]),
        (None, []),
    ]
    assert {event["address"] for event in refused} == {"127.0.0.1"}
    received = [event for event in events if event["event"] == "upload.received"]
    assert [event["verdict"] for event in received] == ["new", "conflict"]
    assert {event["upload"] for event in received} == {EXAMPLE_UPLOAD["client_session_uuid"]}
    for said in [log, *(answer.text for answer in answers)]:
        assert "marked" not in said
        assert TOKEN not in said


def test_I12_idle_connections_without_a_token_block_no_other(settings: Settings) -> None:
    head = request_of(b"{}")[:-4]
    beginnings = [b"", b"P", head.replace(TOKEN.encode(), b"x") + b"\r\n", b"GET /livez HTTP/1.1\r\n\r\n"]
    with process(environment(settings)) as (web, port), ExitStack() as stack:
        uploading = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        body = json.dumps(EXAMPLE_UPLOAD).encode()
        uploading.sendall(request_of(body)[: -len(body)])
        for number in range(MAX_CONNECTIONS + 200):  # a quarter of them is answered, and closed
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.sendall(beginnings[number % len(beginnings)])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, timeout=PATIENCE_S) as client:
            for _ in range(3):
                upload = EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())}
                assert client.post(ENDPOINT, json=upload).status_code == 202
        # Who began to send with a token goes on, though nobody has been silent for longer.
        uploading.sendall(body)
        assert uploading.recv(65536).startswith(b"HTTP/1.1 202 ")
        assert web.poll() is None


def test_to_stop_it_once_more_after_its_end_changes_nothing(settings: Settings) -> None:
    server = Server(create_app(settings), settings.model_copy(update={"port": 0}))
    server.stop()
    server.run()
    server.stop()
