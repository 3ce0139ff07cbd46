"""What is purged stands in no operator's way: nothing is left to replay, and nothing waits for him."""

import json
import re

import httpx
from click.testing import CliRunner
from sqlalchemy import Engine, text

from api.ops.views import REPLAYS_AT_ONCE
from cli.main import main
from shared.config import Settings
from shared.metrics import Stores
from tests.clients import log_in, press
from tests.factories import answer, deliver, ingest, load, standing, upload
from tests.ops_factories import mark_dead, sweep

AT = "2026-11-20T09:00:00Z"

BURY_PURGED = text("""
    INSERT INTO uploads (client_session_uuid, content_hash, received_at, next_try_at, status, finalized_at)
    SELECT gen_random_uuid(), 'v1:old', now() - interval '1 year', now(), 'dead', now()
    FROM generate_series(1, :count)
""")


def mark_dead_and_purged(engine: Engine, count: int) -> None:
    """Leave old uploads as a purge leaves them."""
    with engine.begin() as connection:
        connection.execute(BURY_PURGED, {"count": count})


def shown(page: httpx.Response) -> str:
    """Return a page's words."""
    assert page.status_code == 200
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.text))


def test_all_that_can_be_replayed_is_however_much_is_purged(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    mark_dead_and_purged(engine, REPLAYS_AT_ONCE + 1)
    sent = upload(answer("q110", AT))
    mark_dead(engine, sent, "KeyError at a")
    log_in(web)
    asked = shown(web.get("/ops/uploads/replay?status=dead"))
    assert "1 rejected or dead uploads match status dead" in asked
    assert f"{REPLAYS_AT_ONCE + 1} more are purged" in asked
    assert press(web, "/ops/uploads/replay", status="dead").status_code == 303
    assert standing(engine, sent).status == "received"


def test_a_failed_upload_that_is_purged_is_at_rest(
    engine: Engine, settings: Settings, web: httpx.Client
) -> None:
    load(engine)
    sweep(engine)
    ingest(engine, upload(answer("q999", AT)))
    mark_dead(engine, upload(answer("q110", AT)), "KeyError at a")
    log_in(web)
    assert "There are dead uploads" in shown(web.get("/ops/"))
    assert counted(settings) == {"metric": 1, "stats": 1}
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET payload = NULL"))
    assert "All is well." in shown(web.get("/ops/"))
    assert counted(settings) == {"metric": 0, "stats": 0}


def counted(settings: Settings) -> dict[str, float]:
    """Return how many dead uploads are counted where."""
    stats = CliRunner().invoke(main, ["stats", "--json"], env={"DATABASE_URL": settings.database_url})
    samples = [sample for metric in Stores(settings).collect() for sample in metric.samples]
    (metric,) = [each.value for each in samples if each.labels.get("status") == "dead"]
    return {"metric": metric, "stats": json.loads(stats.stdout)["now"]["dead"]}


def test_the_timeline_names_the_operator_who_logged_in(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    mark_dead(engine, sent, "KeyError at a")
    page = f"/ops/uploads/{sent['client_session_uuid']}"
    log_in(web, name="Bo <b>")
    press(web, f"{page}/replay")
    assert re.search(r"UTC: replayed, by Bo &lt;b&gt; \(page\)", web.get(page).text)
    log_in(web)
    ingest(engine, sent)
    press(web, f"{page}/void", reason="lent to a friend")
    assert "voided, lent to a friend, by (page)" in shown(web.get(page))


def test_the_page_says_whose_the_questions_of_a_rejected_upload_are(
    engine: Engine, web: httpx.Client
) -> None:
    load(engine)
    sent = upload(answer("q110", AT), answer("q210", AT), answer("q999", AT))
    ingest(engine, sent)
    log_in(web)
    page = shown(web.get(f"/ops/uploads/{sent['client_session_uuid']}"))
    assert "1 q110 skipped mixed_owners learner 1 2 q210 skipped mixed_owners learner 2" in page
    assert "3 q999 skipped unknown_question not known" in page
    assert "counted" not in page


def test_no_attempt_of_a_voided_upload_is_said_to_count(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    log_in(web)
    path = f"/ops/uploads/{sent['client_session_uuid']}"
    assert "1 q110 counted" in shown(web.get(path))
    press(web, f"{path}/void", reason="lent to a friend")
    assert "1 q110 void" in shown(web.get(path))
    assert "counted" not in shown(web.get(path))


def test_a_conflict_shows_what_differs_and_discarding_asks_first(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    sent = upload(answer("q110", AT), answer("q111", AT), answer("q120", AT), finished_at=AT)
    ingest(engine, sent)
    changed = [
        answer("q110", AT),
        answer("q111", AT, None, unsure=True),
        answer("q120", "2026-11-20T18:00:00+09:00"),
    ]
    deliver(engine, sent | {"attempts": changed, "sent_at": "2026-11-21T09:00:00Z"})
    log_in(web)
    (path,) = re.findall(r'"(/ops/conflicts/\d+)"', web.get("/ops/conflicts").text)
    assert "q111" not in web.get(path).text
    page = shown(press(web, f"{path}/payloads"))
    assert (
        "Difference -q111: selected 1, answered_at 2026-11-20T09:00:00+00:00"
        " +q111: selected nothing, unsure, answered_at 2026-11-20T09:00:00+00:00 Lines that" in page
    )
    assert "is deleted permanently" in shown(web.get(f"{path}/discard"))
    assert web.get(path).status_code == 200, "it is still there"
    assert press(web, f"{path}/discard").status_code == 303
    assert web.get(path).status_code == 404


def test_an_attempt_without_a_step_leaves_the_page_readable(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    with engine.begin() as connection:  # as where it is voided while the page reads
        connection.execute(text("UPDATE study_quiz_sessions SET status = 'in_progress'"))
    log_in(web)
    assert "q110 counted" in shown(web.get(f"/ops/uploads/{sent['client_session_uuid']}"))


def test_a_wrong_clock_is_tried_and_then_shifted(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    log_in(web)
    page = f"/ops/uploads/{sent['client_session_uuid']}"
    due_before = standing(engine, sent).result["questions"]
    assert "Wrong clock" in shown(web.get(page))
    assert "Shift the clock" not in shown(web.get(f"{page}/clock"))
    tried = shown(web.get(f"{page}/clock?shift=-1d12h"))
    assert "rolled back: the upload would be ingested" in tried
    assert "shifted by -1d12h" in tried
    assert standing(engine, sent).result["questions"] == due_before
    assert press(web, f"{page}/clock", shift="-1d12h").status_code == 303
    assert "replayed, all times shifted by -1d12h, by (page)" in shown(web.get(page))
    assert standing(engine, sent).result["questions"] != due_before
    assert web.get(f"{page}/clock?shift=yesterday").status_code == 422
    assert press(web, f"{page}/clock", shift="").status_code == 422
