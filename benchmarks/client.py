"""A client that costs little: raw sockets, kept alive, one process, requests built beforehand."""

import selectors
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from multiprocessing import get_context
from typing import NamedTuple

from benchmarks.servers import TOKEN
from benchmarks.workload import body
from cli.client import PATH

READ_BYTES = 65536  # more than any response
TIMEOUT_S = 60.0


class Load(NamedTuple):
    """What to send: uploads `first` to `first + requests - 1` of the workload, to a port of this machine.

    Each connection sends again when it has its answer. `rate`: the limit of uploads per second, for all
    connections together; 0: no limit. `tokens`: a token for each upload; if empty, the shared token.
    """

    port: int
    first: int
    requests: int
    connections: int
    rate: float = 0.0
    tokens: tuple[str, ...] = ()


class Answer(NamedTuple):
    """One answer: when its request was sent (seconds after the start), how long it took, and its status."""

    at: float
    took: float
    status: int


def send(load: Load) -> list[Answer]:
    """Send a load from a process of its own."""
    return _client().submit(_send, load).result()


@cache
def _client() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def throughput(answers: list[Answer]) -> float:
    """Return the number of answers per second."""
    return len(answers) / max(answer.at + answer.took for answer in answers)


def _send(load: Load) -> list[Answer]:
    tokens = load.tokens or (TOKEN,) * load.requests
    requests = [_request(load.first + number, token) for number, token in enumerate(tokens)]
    return list(_exchange(load, requests))


def _request(number: int, token: str) -> bytes:
    sent = body(number)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    return head.encode() + sent


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = b""
        self.asked_at = 0.0

    def ask(self, request: bytes) -> None:
        self.read, self.asked_at = b"", time.perf_counter()
        self.socket.sendall(request)

    def status(self) -> int | None:
        """Read what has arrived; return the status once the answer is whole."""
        arrived = self.socket.recv(READ_BYTES)
        if not arrived:
            raise ConnectionError("the server closed a connection that should be kept alive")
        self.read += arrived
        head, end, answered = self.read.partition(b"\r\n\r\n")
        if not end or len(answered) < _length(head):
            return None
        return int(head[9:12])


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])


def _exchange(load: Load, requests: list[bytes]) -> Iterator[Answer]:
    """Keep every connection busy until all requests are answered."""
    with ExitStack() as cleanup:
        selector = cleanup.enter_context(selectors.DefaultSelector())
        idle = [_Connection(load.port) for _ in range(load.connections)]
        for connection in idle:
            selector.register(cleanup.enter_context(connection.socket), selectors.EVENT_READ, connection)
        start, sent, answered = time.perf_counter(), 0, 0
        while answered < len(requests):
            pause = TIMEOUT_S
            while idle and sent < len(requests) and (pause := _due_in(load, sent, start)) <= 0:
                idle.pop().ask(requests[sent])
                sent += 1
            for key, _ in selector.select(max(pause, 0.0)):
                connection = key.data
                if (status := connection.status()) is not None:
                    now = time.perf_counter()
                    yield Answer(connection.asked_at - start, now - connection.asked_at, status)
                    idle.append(connection)
                    answered += 1


def _due_in(load: Load, sent: int, start: float) -> float:
    return start + sent / load.rate - time.perf_counter() if load.rate else 0.0
