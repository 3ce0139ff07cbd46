"""`upload` tells of each line what became of it, whatever stands between it and the server."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.receiver import Receiver, status

PAGE = b"<html>not the server</html>"
TAKEN = status(202, b'{"status": "received"}')


def sent(receiver: Receiver, lines: bytes, folder: Path) -> Result:
    """Send an NDJSON file, one line after the other."""
    file = folder / "lines.ndjson"
    file.write_bytes(lines)
    url = f"http://127.0.0.1:{receiver.server.server_port}"
    return CliRunner().invoke(
        main, ["upload", str(file), "--url", url, "--token", "viewer-token-of-tests", "--concurrency", "1"]
    )


@pytest.mark.parametrize("code", [200, 202, 404, 502])
def test_an_answer_that_is_not_the_servers_fails_its_line_alone(
    receiver: Receiver, tmp_path: Path, code: int
) -> None:
    receiver.then(status(code, PAGE), TAKEN)
    result = sent(receiver, b"{}\n{}\n", tmp_path)
    assert (result.exit_code, f"line 1: failed: {code} " in result.stderr) == (1, True), result.output
    assert result.stdout == "1 received, 0 ingested, 0 already ingested, 0 rejected, 1 failed\n"


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
