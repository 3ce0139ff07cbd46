"""A Postgres on another host proves its name, unless an `sslmode` says otherwise."""

import pytest

from shared.hosts import tls_arguments

AWAY = {"host": "db.example"}


@pytest.mark.parametrize(
    ("arguments", "environment", "proves"),
    [
        ({}, {}, False),
        ({}, {"PGHOST": "db.example"}, True),
        (AWAY, {}, True),
        (AWAY, {"PGSSLMODE": "prefer"}, False),
        (AWAY | {"sslmode": "require"}, {}, False),
        ({"host": "10.0.0.1"}, {}, True),
        ({"host": "fe80::1"}, {}, True),
        ({"hostaddr": "10.0.0.1"}, {}, True),
        ({"host": "localhost,db.example"}, {}, True),
        ({"host": "localhost"}, {}, False),
        ({"host": "localhost", "hostaddr": "10.0.0.1"}, {}, True),
        ({"hostaddr": "127.0.0.1,10.0.0.1"}, {}, True),
        ({"host": "localhost"}, {"PGHOSTADDR": "10.0.0.1"}, True),
        (AWAY | {"sslmode": ""}, {}, True),
        ({"service": "study"}, {}, True),
        ({}, {"PGSERVICE": "study"}, True),
        ({"service": "study", "host": "localhost"}, {}, False),
        ({"service": "study", "sslmode": "disable"}, {}, False),
        ({"host": "127.8.8.8,::1"}, {}, False),
        ({"host": "/run/postgresql,@abstract,"}, {}, False),
    ],
)
def test_who_has_to_prove_a_name(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], environment: dict[str, str], *, proves: bool
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tls_arguments(arguments).get("sslmode") == ("verify-full" if proves else None)


@pytest.mark.parametrize("named", ["sslrootcert", "PGSSLROOTCERT"])
def test_a_named_file_of_authorities_is_used(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "/here" if named.isupper() else "")
    arguments = AWAY if named.isupper() else AWAY | {named: "/here"}
    assert tls_arguments(arguments) == {"sslmode": "verify-full"}
