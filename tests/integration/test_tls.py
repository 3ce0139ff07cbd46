"""With TLS a broker, a spool or a database proves who it is (docs/security.md, "The network")."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from shutil import which

import psutil
import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from cli.doctor import Finding, examine
from cli.local.pdeathsig import tied
from cli.local.places import account_for
from cli.local.servers import USER
from cli.main import main
from shared import broker, spool
from shared.config import Settings, StoreSettings
from shared.db import make_engine
from shared.hosts import TLS_REMEDY, is_about_tls
from tests.processes import free_port, reachable_directory, until

pytestmark = pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")
BROKERS = ("rediss://:secret@{}/0", "sentinels://:secret@{}/0?master_name=m", "amqps://name:secret@{}//")
SPOOLS = ("rediss://:secret@{}/1", "sentinels://:secret@{}/1?master_name=m")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 and db.example, signed by itself, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = [
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:db.example",
        "-keyout",
        str(path),
        "-out",
        f"{path}.crt",
    ]
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


def other_address() -> str | None:
    """Return an address of this host that is not its loopback's."""
    found = (each for addresses in psutil.net_if_addrs().values() for each in addresses)
    return next(
        (each.address for each in found if each.family == socket.AF_INET and each.address[:4] != "127."), None
    )


@pytest.fixture(scope="module")
def postgres(certificate: Path) -> Iterator[int]:
    """Run a Postgres with that certificate for every address of this host; give its port."""
    program = next(Path("/usr/lib/postgresql").glob("*/bin/postgres"), None)
    if program is None:  # the embedded one has no TLS
        pytest.skip("no Postgres with TLS is installed (Debian's package: postgresql)")
    with reachable_directory() as home:
        account, port = account_for(home / "postgres"), free_port()
        cluster = account.own_directory(home / "postgres")
        owner = {"user": account.uid, "group": account.gid, "cwd": cluster}
        initdb = [str(program.with_name("initdb")), "-D", ".", "-A", "trust", "-U", USER, "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, **owner)
        with (cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samehost trust\n")
        both = shutil.copy(certificate, cluster / "both.pem")
        os.chown(both, account.uid, account.gid)
        both.chmod(0o600)
        values = {"listen_addresses": "*", "port": port, "unix_socket_directories": "", "fsync": "off"}
        values |= {"ssl": "on", "ssl_cert_file": both.name, "ssl_key_file": both.name}
        with (cluster / "postgresql.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in values.items())
        command = tied([str(program), "-D", "."], signal.SIGKILL, account.uid, account.gid)
        with (home / "log").open("wb") as log, subprocess.Popen(command, stderr=log, cwd=cluster) as process:
            until(lambda: reaches(port, "localhost"), "Postgres answers")
            yield port
            process.kill()


def database_url(port: int, host: str, query: str = "") -> str:
    """Name the server by any name: its address is given beside it."""
    return f"postgresql://{USER}@{host}:{port}/postgres?hostaddr=127.0.0.1{query}"


@contextmanager
def reached(url: str) -> Iterator[Connection]:
    engine = make_engine(StoreSettings(database_url=url))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def reaches(port: int, host: str, query: str = "") -> bool:
    with suppress(OperationalError), reached(database_url(port, host, query)):
        return True
    return False


@pytest.fixture
def encrypts(request: pytest.FixtureRequest, postgres: int) -> Iterator[bool]:
    """Let the server offer TLS, or go without."""

    def offer(tls: str) -> None:
        with psycopg.connect(database_url(postgres, "localhost"), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET ssl = {tls}".encode())
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: reaches(postgres, "localhost", "&sslmode=require") is (tls == "on"), "it is reloaded")

    if not request.param:
        offer("off")
    yield request.param
    if not request.param:
        offer("on")


ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
REFUSED = {
    "unknown": "certificate verify failed",
    "other name": "does not match host name",
    "no TLS": "server does not support SSL",
}


@pytest.mark.parametrize(
    ("encrypts", "host", "query", "known", "outcome"),
    [
        (True, "db.example", "", True, "encrypted"),
        (True, "db.example", "&sslrootcert={crt}", False, "encrypted"),
        (True, "db.example", "", False, "unknown"),
        (True, "elsewhere.example", "", True, "other name"),
        (True, "db.example", "&sslmode=prefer", False, "encrypted"),
        (True, "db.example", "&sslmode=disable", True, "plain"),
        (True, "localhost", "", False, "encrypted"),
        (False, "db.example", "", True, "no TLS"),
        (False, "db.example", "&sslmode=prefer", True, "plain"),
        (False, "localhost", "", False, "plain"),
        (False, "127.0.0.1", "", False, "plain"),
    ],
    indirect=["encrypts"],
)
def test_a_postgres_on_another_host_has_to_prove_its_name(  # noqa: PLR0917
    postgres: int,
    certificate: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    encrypts: bool,  # noqa: FBT001
    host: str,
    query: str,
    known: bool,  # noqa: FBT001
    outcome: str,
) -> None:
    assert home
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    url = database_url(postgres, host, query.format(crt=f"{certificate}.crt"))
    if why := REFUSED.get(outcome):
        with pytest.raises(OperationalError, match=why) as raised, reached(url):
            pass
        assert is_about_tls(raised.value)
        ran = CliRunner().invoke(main, ["stats"], env={"DATABASE_URL": url})
        assert ran.exit_code == 1
        assert TLS_REMEDY in " ".join(ran.output.split())
    else:
        with reached(url) as connection:
            assert connection.scalar(ENCRYPTED) is (outcome == "encrypted")
    assert encrypts or outcome != "encrypted"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let libpq look for certificates in an empty directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_libpqs_own_file_of_authorities_is_obeyed(postgres: int, certificate: Path, home: Path) -> None:
    assert not reaches(postgres, "db.example")
    (home / ".postgresql").mkdir()
    shutil.copy(f"{certificate}.crt", home / ".postgresql" / "root.crt")
    assert reaches(postgres, "db.example")


def test_the_doctor_names_the_remedy_and_warns_of_plain_text(postgres: int, settings: Settings) -> None:
    def found(url: str) -> dict[str, Finding]:
        changed = settings.model_copy(update={"database_url": url})
        return {each.check: each for each in examine(changed, "http://127.0.0.1:9")}

    unproven = found(database_url(postgres, "elsewhere.example"))["postgres"]
    assert (unproven.level, unproven.fix) == ("fail", TLS_REMEDY)
    if (address := other_address()) is None:
        pytest.skip("this host has no address but its loopback's")
    url = database_url(postgres, "localhost")
    assert found(url)["postgres encryption"].level == "ok"
    crossing = f"postgresql://{USER}@{address}:{postgres}/postgres?sslmode=disable"
    with reached(crossing):
        warning = found(url)["postgres encryption"]
    assert (warning.level, warning.detail) == ("warn", "1 connections of our processes are not encrypted")
