"""What the server, a proxy, a content network or a captive portal can do to a session that is sent."""

import json
import random
import socket
import time
from collections.abc import Callable, Mapping

from tests.browser.proxy import Handler

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
CONTENT_NETWORK = (520, 521, 522, 523, 524, 525, 526, 530)
OTHER_ID = "00000000-0000-4000-8000-000000000000"
Fault = Callable[[Handler], None]


def says(status: int, body: bytes = b"<html>?</html>", headers: Mapping[str, str] = HTML) -> Fault:
    """Make a fault that gives one answer."""
    return lambda handler: handler.answer(status, body, headers)


def slow(handler: Handler) -> None:
    time.sleep(1)
    handler.pass_on()


def recorded_unheard(handler: Handler) -> None:
    """Let the server record it, and lose its answer."""
    handler.ask()
    handler.reset()


def no_answer(handler: Handler) -> None:
    """End the connection in good order, and say nothing."""
    handler.note(0)
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def not_http(handler: Handler) -> None:
    handler.note(0)
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\x00\x01")
    no_answer(handler)


def cut_off(handler: Handler) -> None:
    """Lose the second half of the answer."""
    _in_part(handler, lambda length: length)


def shortened(handler: Handler) -> None:
    """Lose the second half of the answer, and hide it: the length is that of what comes."""
    _in_part(handler, lambda _: _FIRST_PART)


_FIRST_PART = 20


def _in_part(handler: Handler, said: Callable[[int], int]) -> int:
    answer = handler.ask()
    assert answer is not None
    handler.send_response(answer[0])
    for name, value in {**answer[2], "Content-Length": str(said(len(answer[1])))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer[1][:_FIRST_PART])
    handler.wfile.flush()
    return no_answer(handler)


def not_gzip(handler: Handler) -> None:
    """Name a compression that the answer does not have."""
    answer = handler.ask()
    assert answer is not None
    handler.answer(answer[0], answer[1], {**answer[2], "Content-Encoding": "gzip"})


def early_hints(handler: Handler) -> None:
    """Send an informational answer first, as a content network may."""
    handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n")
    handler.pass_on()


def echo(handler: Handler) -> None:
    """Send back what came, as a debugging proxy may: with the session's id."""
    handler.answer(200, handler.body, JSON)


def request_cut_off(handler: Handler) -> None:
    """Pass on half of the session, as a whole: the server says that it is not JSON."""
    handler.body = handler.body[: len(handler.body) // 2]
    handler.pass_on()


def content_network(handler: Handler) -> None:
    handler.answer(random.choice(CONTENT_NETWORK), b"<html>Web server is down</html>", HTML)


# By the names that a test shows.
FAULTS: dict[str, Fault] = {
    "reset": Handler.reset,
    "no answer": no_answer,
    "not HTTP": not_http,
    "slow": slow,
    "recorded, unheard": recorded_unheard,
    "cut off": cut_off,
    "shortened": shortened,
    "not gzip": not_gzip,
    "early hints": early_hints,
    "closed": says(503, headers={**HTML, "Retry-After": "1"}),
    "closed, until a wrong date": says(503, headers={**HTML, "Retry-After": "Fri, 31 Feb 2026 25:00:00 GMT"}),
    "content network": content_network,
    "portal, 200": says(200, b"<html>Welcome to our Wi-Fi</html>"),
    "portal, JSON": says(200, b'{"status":"received"}', JSON),
    "portal, 302": says(302, b"", {"Location": "/viewer/"}),
    "portal, 307": says(307, b"", {"Location": "/viewer/study-outbox/outbox.js"}),
    "portal, 511": says(511, b"<html>Network authentication required</html>"),
    "proxy, 407": says(407, b"", {"Proxy-Authenticate": "Basic"}),
    "proxy, 413": says(413, b"<html>Request Entity Too Large</html>"),
    "firewall, 403": says(403, b"<html>Forbidden</html>"),
    "echo": echo,
    "another's answer": says(202, json.dumps({"client_session_uuid": OTHER_ID}).encode(), JSON),
    "empty": says(200, b"", {}),
    "request cut off": request_cut_off,
}


def any_of_them(handler: Handler) -> None:
    """Do one of all, another one each time."""
    random.choice([*FAULTS.values()])(handler)
