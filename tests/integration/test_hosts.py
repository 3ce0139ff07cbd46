"""A host that is away is tried last: it does not cost each new connection seconds."""

import socket
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from cli.local.servers import PORT, USER, Servers
from shared.config import Settings, StoreSettings
from shared.db import execute, make_engine
from tests.faults import driver, kill_backend

ONE = text("SELECT 1")


def engine_of(settings: Settings, hosts: list[str], ports: str = str(PORT)) -> Engine:
    """Name the test's database by several hosts."""
    database = make_url(settings.database_url).database
    url = f"postgresql://{USER}@/{database}?host={','.join(hosts)}&port={ports}"
    return make_engine(settings.model_copy(update={"database_url": url}), pool_size=2)


def host_of(connection: Connection) -> str:
    return driver(connection).info.host


def test_a_host_that_does_not_answer_is_tried_once(settings: Settings, servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = ["127.0.0.1", str(servers.postgres.sockets)]
        engine = engine_of(settings, hosts, f"{silent.getsockname()[1]},{PORT}")
        with engine.connect() as one, engine.connect() as two:
            assert {host_of(one), host_of(two)} == {hosts[1]}
        engine.dispose()
        silent.setblocking(False)  # noqa: FBT003
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


@pytest.mark.parametrize("ports", [str(PORT), f"{PORT},{PORT}"])
def test_a_host_whose_connection_was_lost_is_tried_last(
    settings: Settings, servers: Servers, tmp_path: Path, ports: str
) -> None:
    first, second = str(servers.postgres.sockets), str(tmp_path / "second")
    Path(second).symlink_to(first)
    engine = engine_of(settings, [first, second], ports)
    with engine.connect() as connection:
        assert host_of(connection) == first
        kill_backend(driver(connection))
        with pytest.raises(OperationalError):
            execute(connection, ONE)
    with engine.connect() as connection:
        assert host_of(connection) == second
    engine.dispose()
    other = engine_of(settings, [first, second], ports)
    with other.connect() as connection:
        assert host_of(connection) == second, "the engines of a process share it"
    other.dispose()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("a,b/x", "read-write"),
        ("a:1,b:2/x?target_session_attrs=any", "any"),
        ("/x?host=a,b", "read-write"),
        ("db/x?hostaddr=10.0.0.1,10.0.0.2", "read-write"),
        ("/x?hostaddr=10.0.0.1,10.0.0.2&port=1,2", "read-write"),
        ("a/x?hostaddr=10.0.0.1", None),
    ],
)
def test_of_several_hosts_the_writable_one_is_taken(url: str, wanted: str | None) -> None:
    engine = make_engine(StoreSettings(database_url=f"postgresql://{url}"))
    asked: list[str | None] = []

    def refuse(_dialect: object, _entry: object, _args: object, arguments: dict[str, str]) -> None:
        asked.append(arguments.get("target_session_attrs"))
        raise ConnectionRefusedError

    event.listen(engine, "do_connect", refuse)
    with pytest.raises(ConnectionRefusedError):
        engine.connect()
    assert asked == [wanted]
