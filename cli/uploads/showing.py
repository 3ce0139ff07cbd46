"""`uploads show`: all that is known of one upload."""

import json
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click

from cli.stores import Store, with_store
from cli.tables import COUNTS
from cli.uploads.sheet import print_json, print_table
from shared.ops.reports import Dossier, open_dossier

KNOWN = ("status", "user_id", "tries", "reason", "last_error", "void_reason")


@click.command()
@click.argument("uuid", type=click.UUID)
@click.option("--payload", "with_payload", is_flag=True, help="The payload too: a learner's answers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@with_store
def show(uuid: UUID, *, with_payload: bool, as_json: bool, store: Store) -> None:
    """Show an upload: what happened when, and what became of each topic and attempt."""
    with store.engine.connect() as connection:
        dossier = open_dossier(connection, uuid)
    if as_json:
        known = asdict(dossier) | {"purged": dossier.payload is None}
        print_json(known if with_payload else {name: known[name] for name in known if name != "payload"})
        return
    _show(dossier)
    if with_payload:
        _section("payload", "purged" if dossier.payload is None else json.dumps(dossier.payload, indent=2))


def _show(dossier: Dossier) -> None:
    print_table(
        ("upload", str(dossier.client_session_uuid)),
        [(name.replace("_", " "), value) for name in KNOWN if (value := getattr(dossier, name)) is not None],
    )
    _section("timeline")
    print_table(("when", "what"), dossier.timeline)
    if dossier.result:
        _show_result(dossier.result)
    if dossier.conflicts:
        _section("conflicts")
        print_table(
            ("id", "received", "content"),
            [(each.id, each.received_at, each.content_hash) for each in dossier.conflicts],
        )


def _show_result(result: dict[str, Any]) -> None:
    if result["topics"]:
        _section("topics")
        names = ("session_id", "study_topic_id", *COUNTS)
        headings = ("session", "topic", *(heading.replace("\n", " ") for heading in COUNTS.values()))
        print_table(headings, [[topic[name] for name in names] for topic in result["topics"]])
    _section("attempts")
    due = {each["pub_id"]: each["due"] for each in result["questions"]}
    rows = [
        (place, each["pub_id"], each["status"], each.get("reason"), due.get(each["pub_id"]))
        for place, each in enumerate(result["attempts"])
    ]
    print_table(("place", "question", "became", "why", "due"), rows)


def _section(title: str, text: str | None = None) -> None:
    click.echo(f"\n{title}")
    if text is not None:
        click.echo(text)
