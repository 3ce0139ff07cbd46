"""A heartbeat tells how long ago it was, once it was."""

from sqlalchemy import Engine, text

from shared.health import age, beat


def test_a_heartbeat_grows_old_until_the_next_one(engine: Engine) -> None:
    with engine.begin() as connection:
        assert age(connection, "sweep") is None
        beat(connection, "other")
        beat(connection, "sweep")
        assert age(connection, "sweep") == 0  # now() is the transaction's
        connection.execute(text("UPDATE heartbeats SET beaten_at = beaten_at - interval '90 s'"))
        beat(connection, "other")
        assert (age(connection, "sweep"), age(connection, "other")) == (90, 0)
