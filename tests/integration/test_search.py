"""Operators find uploads by every question that they ask, and see all that is known of one."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import main
from shared.ops.search import Search, search
from shared.uploads import Status
from tests.factories import answer, deliver, ingest, load, upload

AT = "2026-11-20T09:00:00Z"


@pytest.fixture
def sent(engine: Engine) -> dict[str, str]:
    """Take in one upload of each kind; return their uuids by name."""
    load(engine)
    made = {
        "ann": upload(answer("q110", AT)),
        "ben": upload(answer("q210", AT)),
        "unknown": upload(answer("q999", AT)),
        "waiting": upload(answer("q110", AT), answer("q120", AT)),
        "waiting longer": upload(answer("q210", AT)),
        "dead": upload(answer("q120", AT)),
    }
    for name, each in made.items():
        (ingest if name in {"ann", "ben", "unknown"} else deliver)(engine, each)
    uuids = {name: each["client_session_uuid"] for name, each in made.items()}
    with engine.begin() as connection:
        for age, uuid in enumerate(uuids.values()):
            bound = {"id": uuid, "at": timedelta(minutes=10 * age)}
            arrive = "UPDATE uploads SET received_at = now() - :at WHERE client_session_uuid = :id"
            connection.execute(text(arrive), bound)
        dead = """UPDATE uploads SET status = 'dead', finalized_at = now(), last_error = 'ValueError 100% odd'
            WHERE client_session_uuid = :id"""
        connection.execute(text(dead), {"id": uuids["dead"]})
    return uuids


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Search(), ["ann", "ben", "unknown", "waiting", "waiting longer", "dead"]),
        (Search(limit=None), ["ann", "ben", "unknown", "waiting", "waiting longer", "dead"]),
        (Search(limit=2), ["ann", "ben"]),
        (Search(Status.RECEIVED), ["waiting longer", "waiting"]),
        (Search(Status.INGESTED), ["ann", "ben"]),
        (Search(Status.REJECTED), ["unknown"]),
        (Search(older_than=timedelta(minutes=25)), ["waiting", "waiting longer", "dead"]),
        (Search(Status.RECEIVED, older_than=timedelta(minutes=35)), ["waiting longer"]),
        (Search(learner=1), ["ann", "waiting", "dead"]),
        (Search(learner=2), ["ben", "waiting longer"]),
        (Search(learner=1, question="q120"), ["waiting", "dead"]),
        (Search(question="q110"), ["ann", "waiting"]),
        (Search(question="second110"), ["ann"]),
        (Search(question="q999"), ["unknown"]),
        (Search(question="q110", status=Status.RECEIVED), ["waiting"]),
        (Search(error="VALUEerror"), ["dead"]),
        (Search(error="100% o"), ["dead"]),
        (Search(error="Value%odd"), []),
        (Search(error="unknown_q"), ["unknown"]),
        (Search(error="unknownxq"), []),
        (Search(Status.REJECTED, error="odd"), []),
        (Search(learner=3), []),
    ],
)
def test_uploads_are_found(engine: Engine, sent: dict[str, str], wanted: Search, names: list[str]) -> None:
    with engine.connect() as connection:
        found = [str(each.client_session_uuid) for each in search(connection, wanted)]
    assert found == [sent[name] for name in names]


def test_an_upload_is_each_learners_whose_questions_it_names(engine: Engine) -> None:
    load(engine)
    mixed = upload(answer("q110", AT), answer("second210", AT), answer("q211", AT))
    ingest(engine, mixed)
    purged = upload(answer("q110", AT), answer("q210", AT))
    ingest(engine, purged)
    with engine.begin() as connection:
        purge = text("UPDATE uploads SET payload = NULL WHERE client_session_uuid = :id")
        connection.execute(purge, {"id": purged["client_session_uuid"]})
        found = [search(connection, Search(Status.REJECTED, learner=learner)) for learner in (1, 2, 3)]
    assert [[str(each.client_session_uuid) for each in some] for some in found] == [
        [mixed["client_session_uuid"]],
        [mixed["client_session_uuid"]],
        [],
    ]


def test_what_a_token_sent_is_found_by_its_learner_whatever_it_names(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q999", AT))
    deliver(engine, sent, learner_id=1)
    with engine.connect() as connection:
        found = [search(connection, Search(learner=learner)) for learner in (1, 2)]
    assert [len(some) for some in found] == [1, 0]


def test_the_catalog_is_read_once_for_all_uploads(engine: Engine) -> None:
    load(engine)
    deliver(engine, upload(answer("q110", AT)))
    many = [
        """INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at)
            SELECT gen_random_uuid(), payload, content_hash, received_at, next_try_at
            FROM uploads, generate_series(1, 1000)""",
        """INSERT INTO published_items (pub_id, source_id, choices, correct_choice)
            SELECT 'other' || n, 310, '["a", "b"]', 0 FROM generate_series(1, 5000) AS n""",
        "ANALYZE",
    ]
    scans = "SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'published_items'"
    with engine.begin() as connection:
        for each in many:
            connection.execute(text(each))
        before = connection.scalar(text(scans))
        assert len(search(connection, Search(learner=1, limit=None))) == 1001
        # By whatever plan: a few for the catalog, not one for each upload.
        assert connection.scalar(text(scans)) - before < 20


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize(
    ("narrowed", "names"),
    [
        ({}, ["twice", "half", "old"]),
        ({"limit": 1}, ["twice"]),
        ({"learner": 1}, ["half", "old"]),
        ({"learner": 1, "newer_than": timedelta(days=2)}, ["half"]),
        ({"older_than": timedelta(days=2)}, ["old"]),
        ({"question": " q998"}, ["twice"]),
        ({"question": "q110"}, []),
        ({"status": Status.REJECTED}, []),
    ],
)
def test_what_was_ingested_without_some_attempts_is_found(
    engine: Engine, narrowed: dict[str, Any], names: list[str]
) -> None:
    made = {
        "old": upload(answer("q110", AT), answer("q999", AT)),
        "purged": upload(answer("q110", AT), answer("q999", AT)),
        "half": upload(answer("q999", AT), answer("q110", AT)),
        "twice": upload(answer("q999", AT), answer("q998", AT), answer("q210", AT)),
    }
    for each in made.values():
        ingest(engine, each)
    age = "UPDATE uploads SET received_at = now() - :age WHERE client_session_uuid = :id"
    purge = "UPDATE uploads SET payload = NULL WHERE client_session_uuid = :id"
    with engine.begin() as connection:
        for days, each in zip((3, 2, 1, 0), made.values(), strict=True):
            bound = {"id": each["client_session_uuid"], "age": timedelta(days=days)}
            connection.execute(text(age), bound)
        connection.execute(text(purge), {"id": made["purged"]["client_session_uuid"]})
        found = search(connection, Search(skipped=True, **narrowed))
    assert [str(each.client_session_uuid) for each in found] == [
        made[name]["client_session_uuid"] for name in names
    ]


def test_the_newest_are_found_however_old_they_are(engine: Engine, sent: dict[str, str]) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET received_at = received_at - interval '2 years'"))
        found = [str(each.client_session_uuid) for each in search(connection, Search(limit=3))]
    assert found == [sent[name] for name in ("ann", "ben", "unknown")]


def run(database_url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["uploads", *words], env={"DATABASE_URL": database_url})


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_list_is_a_table_for_people_and_lines_for_programs(database_url: str, sent: dict[str, str]) -> None:
    shown = run(database_url, "list", "--status", "rejected")
    assert shown.exit_code == 0
    (row,) = [line for line in shown.stdout.splitlines() if sent["unknown"] in line]
    assert row.split()[-2:] == ["1", "unknown_questions"]
    (line,) = lines(run(database_url, "list", "--error", "odd", "--json"))
    assert (line["client_session_uuid"], line["status"], line["attempts"]) == (sent["dead"], "dead", 1)
    listed = lines(run(database_url, "list", "--older-than", "25m", "--limit", "2", "--json"))
    assert [each["client_session_uuid"] for each in listed] == [sent["waiting"], sent["waiting longer"]]


def test_what_a_viewer_sent_commands_no_terminal(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110\x1b[2J[red]", AT))
    deliver(engine, sent)
    listed = run(database_url, "show", sent["client_session_uuid"], "--payload").stdout
    ingest(engine, sent)
    shown = run(database_url, "show", sent["client_session_uuid"]).stdout
    assert "\x1b" not in listed + shown
    assert "q110·[2J[red]" in shown


def test_an_upload_is_shown_with_all_that_is_known(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT), answer("q999", AT))
    uuid = sent["client_session_uuid"]
    ingest(engine, sent)
    deliver(engine, sent | {"attempts": sent["attempts"][:1]})
    assert run(database_url, "void", uuid, "--reason", "lent to a friend").exit_code == 0
    shown = run(database_url, "show", uuid).stdout
    for expected in (
        "ingested",
        "received",
        "voided",
        "lent to a friend",
        "unknown_question",
        "2026-11-22",
        "2:",
    ):
        assert expected in shown
    assert "answered_at" not in shown
    assert "answered_at" in run(database_url, "show", uuid, "--payload").stdout
    (line,) = lines(run(database_url, "show", uuid, "--json"))
    assert "payload" not in line
    assert [each["status"] for each in line["result"]["attempts"]] == ["counted", "skipped"]
    assert (len(line["conflicts"]), line["void_reason"]) == (1, "lent to a friend")
    (line,) = lines(run(database_url, "show", uuid, "--json", "--payload"))
    assert line["payload"] == sent


def test_the_unknown_ends_with_1_and_wrong_usage_with_2(database_url: str) -> None:
    unknown = run(database_url, "show", str(uuid4()))
    assert (unknown.exit_code, "there is no upload" in unknown.stderr) == (1, True)
    for wrong in (["show", "no-uuid"], ["list", "--older-than", "soon"], ["list", "--status", "lost"]):
        assert run(database_url, *wrong).exit_code == 2


def test_a_purged_upload_is_listed_and_shown(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET payload = NULL"))
        (listed,) = search(connection, Search())
    assert (listed.client_session_uuid, listed.attempts) == (UUID(sent["client_session_uuid"]), None)
    assert "purged" in run(database_url, "list").stdout
    assert run(database_url, "show", sent["client_session_uuid"], "--payload").stdout.endswith("purged\n")
