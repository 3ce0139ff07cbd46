"""`stats`: how things stand, in numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
from sqlalchemy import Connection

from cli.backlog import count_backlog
from cli.stores import Store, with_store
from cli.uploads.sheet import print_json, print_table
from shared.health import standing
from shared.ops.reports import Counts, count_followups, count_since


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@with_store
def stats(*, as_json: bool, store: Store) -> None:
    """Count what waits, what failed, and what was done in the last hour and day."""
    with store.engine.connect() as connection:
        counted = _count(connection, datetime.now(UTC))
    counted["now"] |= count_backlog()._asdict()
    if as_json:
        print_json(counted)
        return
    print_table(("now", ""), list(counted["now"].items()))
    rows = [(span, *counted[span].values()) for span in ("last_hour", "last_day")]
    print_table(("uploads", *Counts._fields), rows)
    print_table(("follow-ups", ""), list(counted["followups"].items()))


def _count(connection: Connection, now: datetime) -> dict[str, Any]:
    return {
        "now": standing(connection)._asdict(),
        "last_hour": count_since(connection, now - timedelta(hours=1))._asdict(),
        "last_day": count_since(connection, now - timedelta(days=1))._asdict(),
        "followups": count_followups(connection),
    }
