"""The hosts of a Postgres: in which order they are tried, and how each proves its name."""

import os
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, ClassVar, Self

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

# Key in a connection's `info`: the host and the port that it leads to.
_HOST = "host"


class Hosts:
    """The order in which the hosts of a URL are tried: a host that is away costs each connection seconds.

    A host that answered goes first, a host whose connection was lost goes last. The engines of a process
    share this order.
    """

    _all: ClassVar[dict[tuple[str, str], Self]] = {}

    def __init__(self, hosts: list[str], ports: list[str]) -> None:
        self._hosts = list(zip(hosts, ports, strict=True))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self | None:
        """Return the hosts in libpq's parameters; None if there is only one.

        Also return None if `hostaddr` is set, or if the number of ports is wrong.
        """
        hosts, ports = str(arguments.get("host", "")), str(arguments.get("port", ""))
        number = hosts.count(",") + 1
        each = ports.split(",") if "," in ports else [ports] * number
        if number == 1 or number != len(each) or "hostaddr" in arguments:
            return None
        return cls._all.setdefault((hosts, ports), cls(hosts.split(","), each))

    def apply_order(
        self, _dialect: Any, _entry: ConnectionPoolEntry, _args: Any, arguments: dict[str, Any]
    ) -> None:
        """Write the hosts in their present order into the arguments of a new connection."""
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


ROOT_CERTIFICATE = "~/.postgresql/root.crt"  # where libpq looks for the authorities' certificates
TLS_REMEDY = (
    "in DATABASE_URL set sslrootcert to a file with the certificate of the server's authority, and the host"
    " to the name in the server's certificate; in a network of your own, sslmode=disable connects without TLS"
)


def is_about_tls(error: DBAPIError) -> bool:
    """Return whether an error is about TLS, for example if a server cannot prove its name or has no TLS."""
    return any(word in str(error.orig) for word in ("SSL", "certificate"))


def tls_arguments(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that make a server prove its name, if it is not on this machine.

    Return no parameters if all servers are known to be on this machine, or if `sslmode` is set in the URL or
    by PGSSLMODE: then this setting decides. The trusted authorities come from the URL or PGSSLROOTCERT,
    else from libpq's own file, else from SSL_CERT_FILE or the system, as for Redis and the broker.
    By itself, libpq would accept any certificate, and also a connection without TLS.
    """
    host, address, service = (
        str(arguments.get(name) or os.environ.get(f"PG{name.upper()}", ""))
        for name in ("host", "hostaddr", "service")
    )
    # Only libpq reads the file of a service, so the host of a service is unknown here.
    is_here = all(map(_is_here, f"{host},{address}".split(","))) and (host or address or not service)
    if arguments.get("sslmode") or os.environ.get("PGSSLMODE") or is_here:
        return {}
    own = os.path.expanduser(ROOT_CERTIFICATE)  # noqa: PTH111  # pathlib raises if no home is known
    if "sslrootcert" in arguments or os.environ.get("PGSSLROOTCERT") or os.access(own, os.R_OK):
        return {"sslmode": "verify-full"}
    # The file must be named: the libpq in psycopg's package looks for it where no system has it.
    return {"sslmode": "verify-full", "sslrootcert": ssl.get_default_verify_paths().cafile or "system"}


def _is_here(host: str) -> bool:
    if not host or host == "localhost" or host[0] in "/@":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
