"""A learner, a topic, a question and sessions that nobody can take for real ones."""

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from cli.stores import Store
from shared.catalog import resolve
from shared.catalog_admin import CatalogFile, CatalogQuestion, CatalogTopic, CatalogUser, load_catalog

# The largest id there is: catalogs count from one.
LEARNER = TOPIC = QUESTION = 2**63 - 1
PUB_ID = "study-ingest-smoke"
NAME = "synthetic: study-ingest smoke"
CHOICES = ["wrong", "right"]
RIGHT = 1
# Half of the uuid is fixed, so that people see it and an index finds it; who draws uuids never draws this.
PREFIX = "0000000000004000"
FIRST, LAST = UUID(PREFIX + "0" * 16), UUID(PREFIX + "f" * 16)

CATALOG = CatalogFile(
    users=[CatalogUser(id=LEARNER)],
    topics=[CatalogTopic(id=TOPIC, user_id=LEARNER, name=NAME)],
    questions=[
        CatalogQuestion(
            id=QUESTION,
            pub_id=PUB_ID,
            user_id=LEARNER,
            study_topic_id=TOPIC,
            subject=NAME,
            choices=CHOICES,
            correct_choice=RIGHT,
        )
    ],
)

_WAITING = text("""
    SELECT EXISTS (SELECT FROM uploads
        WHERE client_session_uuid BETWEEN :first AND :last AND status = 'received')
""")


_LEFT = text("""
    SELECT DISTINCT CAST(client_session_uuid AS uuid) FROM study_quiz_sessions
    WHERE user_id = :learner AND voided_at IS NULL AND superseded_at IS NULL
""")


def put_in_place(store: Store) -> None:
    """Load the question unless it is there: to load anything holds every learner up for a moment."""
    with store.engine.connect() as connection:
        known = resolve(connection, {PUB_ID})
    if not known:
        load_catalog(store.engine, CATALOG, default_zone=store.default_zone)


def one_waits(connection: Connection) -> bool:
    """Tell whether a synthetic session of an earlier run is still to be replayed."""
    return bool(connection.scalar(_WAITING, {"first": FIRST, "last": LAST}))


def left_behind(connection: Connection) -> list[UUID]:
    """Return the synthetic sessions that were replayed after their run had given up."""
    return list(connection.scalars(_LEFT, {"learner": LEARNER}))


def new_session() -> tuple[UUID, str]:
    """Answer the question now, rightly; return the upload's uuid and its JSON text."""
    uuid, now = UUID(PREFIX + uuid4().hex[16:]), datetime.now(UTC).isoformat()
    attempt = {"pub_id": PUB_ID, "selected": RIGHT, "unsure": False, "answered_at": now}
    return uuid, json.dumps({"client_session_uuid": str(uuid), "attempts": [attempt]})
