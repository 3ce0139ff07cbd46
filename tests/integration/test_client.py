"""`upload` tells of each line what became of it, whatever stands between it and the server."""

import codecs
import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from cli import client
from cli.main import main
from tests.receiver import Receiver, status

TOKEN = "viewer-token-of-tests"
PAGE = b"<html>not the server</html>"
TAKEN = status(202, b'{"status": "received"}')


def sent(receiver: Receiver, lines: bytes, folder: Path, *words: str, piped: bool = False) -> Result:
    """Send an NDJSON file, or the standard input, one line after the other."""
    file = folder / "lines.ndjson"
    file.write_bytes(lines)
    url = f"http://127.0.0.1:{receiver.server.server_port}"
    return CliRunner().invoke(
        main,
        ["upload", "-" if piped else str(file), "--url", url, "--token", TOKEN, "--concurrency", "1", *words],
        input=lines if piped else None,
    )


@pytest.mark.parametrize("code", [200, 202, 404])
def test_an_answer_that_is_not_the_servers_fails_its_line_alone(
    receiver: Receiver, tmp_path: Path, code: int
) -> None:
    receiver.then(status(code, PAGE), TAKEN)
    result = sent(receiver, b"{}\n{}\n", tmp_path)
    assert (result.exit_code, f"line 1: failed: {code} " in result.stderr) == (1, True), result.output
    assert result.stdout == "1 received, 0 ingested, 0 already ingested, 0 rejected, 1 failed\n"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"errors": {"a": 1}}',
        b'{"errors": ["x"]}',
        b'{"errors": 5, "title": {}}',
        b'{"reason": [1]}',
        b"[" * 100_000,
        b'{"now": "2026-11-22T09:00:41Z", "topics": 5}',
        b'{"now": "2026-11-22T09:00:41Z", "topics": [{"topic_id": 0, "digest": ""}]}',
    ],
)
@pytest.mark.parametrize("code", [200, 422])
def test_json_of_another_server_is_a_line(
    receiver: Receiver, tmp_path: Path, code: int, answer: bytes
) -> None:
    receiver.then(status(code, answer))
    result = sent(receiver, b"{}\n", tmp_path)
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit | None), result.exception
    catalog = tmp_path / "catalog.json"
    catalog.write_text('{"users": [{"id": 1}], "topics": [{"id": 1, "user_id": 1, "name": "Anatomy"}]}')
    words = ["catalog", "sync", str(catalog), "--url", f"http://127.0.0.1:{receiver.server.server_port}"]
    result = CliRunner().invoke(main, words, env={"CATALOG_TOKEN": TOKEN})
    assert (result.exit_code, result.stderr.startswith("Error: GET /catalog/digest: ")) == (1, True)


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_an_import_waits_for_a_server_that_is_away(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked: list[float] = []
    # Not the module's own function, which threads of other tests call, too.
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: sum(asked), sleep=asked.append))
    away = status(code, PAGE, **{"Retry-After": "30"})
    receiver.then(away, away, TAKEN)
    result = sent(receiver, b"{}\n", tmp_path)
    assert (result.exit_code, asked) == (0, [30, 30]), result.output


def test_an_import_fails_where_the_server_stays_away(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(client, "time", clock)
    receiver.then(status(503, PAGE, **{"Retry-After": "170"}))
    result = sent(receiver, b"{}\n", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "line 1: failed: 503 Service Unavailable\n")
    assert (len(receiver.requests), sum(slept)) == (3, client.UPLOAD_PATIENCE_S)


def test_the_line_of_a_dead_upload_is_named(receiver: Receiver, tmp_path: Path) -> None:
    receiver.then(TAKEN, status(200, b'{"status": "dead"}'))
    result = sent(receiver, b'\n{"client_session_uuid": "1"}\n', tmp_path, "--wait")
    assert (result.exit_code, result.stderr) == (1, "line 2: failed: dead\n")


def test_a_line_that_is_no_text_fails_alone(receiver: Receiver, tmp_path: Path) -> None:
    receiver.then(TAKEN)
    result = sent(receiver, b'{"\xff": 1}\n{}\n', tmp_path)
    assert (result.exit_code, result.stderr) == (1, "line 1: failed: not UTF-8\n")
    assert [request.body for request in receiver.requests] == [b"{}"]


def test_only_a_line_feed_ends_a_line(receiver: Receiver, tmp_path: Path) -> None:
    receiver.then(TAKEN)
    lines = ['{"note": "\u2028\u2029\x85"}', "{}\f\x1c\r "]
    result = sent(receiver, "\r\n\n".join([*lines, ""]).encode(), tmp_path)
    assert result.exit_code == 0, result.output
    assert [request.body.decode().rstrip("\r") for request in receiver.requests] == lines


CASES = [b'{"a": 1}', b'{"b": 2}']


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"\n".join(CASES),
        gzip.compress(codecs.BOM_UTF8 + b"\r\n".join(CASES), mtime=0),
        b"\n".join(CASES).decode().encode("utf-16"),
        b"\n\n" + b"\n \n".join(CASES) + b"\n\n",
    ],
)
@pytest.mark.parametrize("given", ["file", "pipe"])
def test_a_file_is_read_as_other_tools_leave_it(
    receiver: Receiver, tmp_path: Path, content: bytes, given: str
) -> None:
    receiver.then(TAKEN, TAKEN)
    result = sent(receiver, content, tmp_path, piped=given == "pipe")
    assert result.stdout.startswith("2 received"), result.output
    assert [request.body.strip() for request in receiver.requests] == CASES


def test_a_line_is_called_as_an_editor_counts_it(receiver: Receiver, tmp_path: Path) -> None:
    receiver.then(TAKEN, status(422, b'{"title": "Invalid upload"}'))
    result = sent(receiver, b'{"a": 1}\n\n{"bad": 1}\n', tmp_path)
    assert result.stderr == "line 3: failed: 422 Invalid upload\n"


@pytest.mark.parametrize(
    "content", [b"\x1f\x8bnot gzip", gzip.compress(b"{}", mtime=0)[:-9], b"\xff\xfe\x00"]
)
def test_a_file_that_cannot_be_unpacked_is_named(receiver: Receiver, tmp_path: Path, content: bytes) -> None:
    result = sent(receiver, content, tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "lines.ndjson cannot be read: " in result.stderr


def test_an_empty_file_sends_nothing(receiver: Receiver, tmp_path: Path) -> None:
    assert sent(receiver, b"\n \n", tmp_path).stdout.startswith("0 received")
