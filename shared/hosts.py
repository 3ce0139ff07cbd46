"""The hosts of a Postgres: in which order they are tried."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import psycopg
from sqlalchemy.pool import ConnectionPoolEntry

# Key in a connection's `info`: the host and the port that it leads to.
_HOST = "host"


class Hosts:
    """The order in which the hosts of a URL are tried: one that is away would cost each connection seconds.

    One that answered goes first, one whose connection was lost goes last. The engines of a process share it.
    """

    _all: ClassVar[dict[tuple[str, str], Self]] = {}

    def __init__(self, hosts: list[str], ports: list[str]) -> None:
        self._hosts = list(zip(hosts, ports, strict=True))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self | None:
        """Return those of libpq's parameters; None where they name only one, or addresses, too."""
        hosts, ports = str(arguments.get("host", "")), str(arguments.get("port", ""))
        number = hosts.count(",") + 1
        each = ports.split(",") if "," in ports else [ports] * number
        if number == 1 or number != len(each) or "hostaddr" in arguments:
            return None
        return cls._all.setdefault((hosts, ports), cls(hosts.split(","), each))

    def order(
        self, _dialect: Any, _entry: ConnectionPoolEntry, _args: Any, arguments: dict[str, Any]
    ) -> None:
        """Put the hosts in order before a connection is made."""
        hosts = self._hosts
        arguments["host"] = ",".join(host for host, _ in hosts)
        arguments["port"] = ",".join(port for _, port in hosts)

    def note_connected(self, driver: psycopg.Connection, entry: ConnectionPoolEntry) -> None:
        """Try the host of this connection first from now on."""
        entry.info[_HOST] = driver.info.host, str(driver.info.port)
        self._hosts = sorted(self._hosts, key=lambda each: not _leads_to(entry, *each))

    def note_lost(self, _driver: Any, entry: ConnectionPoolEntry, _error: BaseException | None) -> None:
        """Try the host of this connection last from now on."""
        self._hosts = sorted(self._hosts, key=lambda each: _leads_to(entry, *each))


def _leads_to(entry: ConnectionPoolEntry, host: str, port: str) -> bool:
    reached = entry.info.get(_HOST)
    return reached is not None and reached[0] == host and port in {"", reached[1]}
