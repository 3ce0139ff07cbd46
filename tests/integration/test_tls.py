"""With TLS, a broker or spool has to prove who it is, by default (docs/security.md, "The network")."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from shutil import which

import pytest

from shared import broker, spool
from shared.config import Settings

pytestmark = pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")
BROKERS = ("rediss://:secret@{}/0", "sentinels://:secret@{}/0?master_name=m", "amqps://name:secret@{}//")
SPOOLS = ("rediss://:secret@{}/1", "sentinels://:secret@{}/1?master_name=m")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1, signed by itself, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(["/usr/bin/env", "openssl", *made.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@contextmanager
def server(certificate: Path) -> Iterator[tuple[int, "SimpleQueue[bytes]"]]:
    """Listen with that certificate; yield the port, and what clients send once they trust it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    sent: SimpleQueue[bytes] = SimpleQueue()
    with socket.create_server(("", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:  # closed: the test is over
                    return
                with client, suppress(OSError):
                    client.settimeout(5)
                    with context.wrap_socket(client, server_side=True) as trusted:
                        if received := trusted.recv(1000):
                            sent.put(received)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], sent
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def connect(settings: Settings, setting: str, url: str) -> None:
    """Try to reach a server, which answers nothing."""
    if setting == "REDIS_URL":
        with suppress(Exception), spool.connect(url) as redis:
            redis.ping()
        return
    app = broker.make_celery(settings.model_copy(update={"broker_url": url}))
    with suppress(Exception), app.connection_for_write() as connection:
        connection.connect()
        connection.default_channel  # noqa: B018  # Redis connects at the first channel


@pytest.mark.parametrize(
    ("setting", "url"),
    [*(("BROKER_URL", url) for url in BROKERS), *(("REDIS_URL", url) for url in SPOOLS)],
)
@pytest.mark.parametrize(
    ("host", "known", "trusted"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
    ids=["known", "of an unknown authority", "of another name"],
)
def test_only_a_server_that_proves_its_name_is_sent_anything(  # noqa: PLR0917
    settings: Settings,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    url: str,
    host: str,
    known: bool,  # noqa: FBT001
    trusted: bool,  # noqa: FBT001
) -> None:
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with server(certificate) as (port, sent):
        connect(settings, setting, url.format(f"{host}:{port}"))
    assert (not sent.empty()) is trusted
