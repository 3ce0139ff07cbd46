"""`uploads list`: find uploads."""

from datetime import timedelta

import click

from cli.duration import Duration
from cli.storable import BIGINT, COUNT, Text
from cli.stores import Store, with_store
from cli.uploads.sheet import print_json, print_table
from shared.ops.search import Listed, Search, search
from shared.uploads import Status

HEADINGS = ("upload", "status", "received", "tries", "learner", "attempts", "why")


@click.command("list")
@click.option("--status", type=click.Choice(Status, case_sensitive=False), help="Where it stands.")
@click.option("--older-than", type=Duration(), help="Received longer ago than this, e.g. 10m.")
@click.option("--learner", type=BIGINT, metavar="ID", help="Whose questions it answers.")
@click.option("--question", type=Text(), metavar="PUB_ID", help="A question that it answers.")
@click.option("--error", type=Text(), metavar="TEXT", help="A part of its last error or reason, in any case.")
@click.option("--limit", type=COUNT, default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line an upload.")
@with_store
def list_uploads(  # noqa: PLR0913  # one for each option
    *,
    status: Status | None,
    older_than: timedelta | None,
    learner: int | None,
    question: str | None,
    error: str | None,
    limit: int,
    as_json: bool,
    store: Store,
) -> None:
    """List uploads: with --status received the longest waiting first, else the newest first."""
    wanted = Search(status, older_than, learner, question, error, limit)
    with store.engine.connect() as connection:
        found = search(connection, wanted)
    if as_json:
        for each in found:
            print_json(each._asdict())
    else:
        print_table(HEADINGS, map(_row, found))


def _row(each: Listed) -> tuple[object, ...]:
    why = each.reason or each.last_error
    return (
        each.client_session_uuid,
        each.status,
        each.received_at,
        each.tries,
        each.user_id,
        "purged" if each.attempts is None else each.attempts,
        why,
    )
