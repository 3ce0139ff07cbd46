"""Connections to Postgres that give their locks back when they are cut off."""

from sqlalchemy import Engine, create_engine

from shared.config import StoreSettings

# A host that vanishes must lose its locks before the task's time limit lets another worker in.
TCP_USER_TIMEOUT_MS = 20_000
CONNECT_TIMEOUT_S = 3


def make_engine(
    settings: StoreSettings,
    *,
    pool_size: int = 1,
    pre_ping: bool = False,
    autocommit: bool = False,
    scanning: bool = False,
) -> Engine:
    """Make an engine; call it after a fork, never before.

    `autocommit`: each statement commits by itself. `scanning`: for questions about whole tables.
    Parameters are hidden from error texts, since they hold learners' answers.
    """
    limits = {
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_timeout,
        "statement_timeout": settings.task_time_limit,
    }
    options = {name: int(value * 1000) for name, value in limits.items()} | {"timezone": "UTC"}
    if not scanning:  # what is planned on an empty table would read all of it as it grows, until an ANALYZE
        options["enable_seqscan"] = "off"
    return create_engine(
        settings.database_url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        # To switch a connection there and back at each use costs as much as a statement.
        isolation_level="AUTOCOMMIT" if autocommit else None,
        pool_reset_on_return=None if autocommit else "rollback",
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "application_name": "study-ingest",
        },
    )
