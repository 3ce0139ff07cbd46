"""Statements past SQLAlchemy fail, begin and go on as its own do."""

import pytest
from sqlalchemy import Connection, Engine, QueuePool, create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.db import execute
from shared.failures import describe, is_transient
from shared.models import User
from tests.factories import rows
from tests.faults import driver, kill_backend

PERCENT = text("SELECT CAST(:what AS text) AS given, 7 % 4 AS three, '50%' AS half")
INSERT = text("INSERT INTO users (id) VALUES (:id)")


def fail(connection: Connection) -> None:
    execute(connection, INSERT, {"id": 7})


def test_columns_keep_their_names_and_percent_signs_are_no_parameters(engine: Engine) -> None:
    with engine.begin() as connection:
        (found,) = execute(connection, PERCENT, {"what": "a 'quoted' %s"})
    assert found._asdict() == {"given": "a 'quoted' %s", "three": 3, "half": "50%"}


def test_it_begins_a_transaction_that_a_commit_ends(engine: Engine) -> None:
    with engine.connect() as connection:
        execute(connection, INSERT, {"id": 7})
        connection.commit()
        execute(connection, INSERT, {"id": 8})
    assert [user["id"] for user in rows(engine, User)] == [7]


def test_a_failure_is_sqlalchemys_and_names_who_sent_the_statement(engine: Engine) -> None:
    with engine.connect() as connection:
        fail(connection)
        with pytest.raises(IntegrityError) as raised:
            fail(connection)
    assert not is_transient(raised.value)
    assert describe(raised.value).startswith("IntegrityError 23505 at tests/integration/test_db.py:")
    assert describe(raised.value).endswith(" fail")


def test_a_lost_connection_is_transient_and_leaves_the_pool(engine: Engine) -> None:
    pooled = create_engine(engine.url, poolclass=QueuePool, pool_size=1, max_overflow=0)
    with pooled.connect() as connection:
        kill_backend(driver(connection))
        with pytest.raises(OperationalError) as raised:
            fail(connection)
    assert raised.value.connection_invalidated
    assert is_transient(raised.value)
    with pooled.begin() as connection:
        execute(connection, INSERT, {"id": 8})
    assert [user["id"] for user in rows(engine, User)] == [8]
    pooled.dispose()
