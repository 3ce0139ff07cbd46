"""Take the screenshots of the docs: `python -m tests.screenshots`, with generated data of one day."""

import json
import random
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

import migrations
from api.app import create_app
from api.errors import MEDIA_TYPE, Kind
from api.server import Server
from cli.client import PATH
from cli.local.servers import Servers
from shared.config import Settings
from tests import factories, ops_factories
from tests.chromium import chromium
from tests.clients import PASSWORD

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDTH = 1100
VIEWPORT: ViewportSize = {"width": WIDTH, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 700}
DESKTOP: ViewportSize = {"width": 900, "height": 680}
TOKEN = "viewer-token-of-tests"
REFUSED = json.dumps(Kind.REJECTED_UPLOAD.body(reason="other_learner"))

# A day of uploads that only the plots show: more in the last hours, a few that fail.
_MAKE = text("""
    INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at, status,
        finalized_at, reason, last_error)
    SELECT CAST(:id AS uuid), '{}', '1:made', CAST(:at AS timestamptz), :at, CAST(:status AS text), :ended,
        CASE CAST(:status AS text) WHEN 'rejected' THEN 'mixed_owners' END,
        CASE CAST(:status AS text) WHEN 'dead' THEN 'OperationalError 53100 at shared/replay.py:40 _learn' END
""")


def make_day(engine: Engine) -> None:
    rng, now = random.Random(1), datetime.now(UTC)
    rows = []
    for _ in range(4000):
        at = now - timedelta(days=1) * min(abs(rng.gauss(0.1, 0.25)), 1)
        status = rng.choices(["ingested", "rejected", "dead"], [200, 5, 1])[0]
        uuid = UUID(int=rng.getrandbits(128), version=4)
        rows.append({"id": uuid, "at": at, "ended": at + timedelta(seconds=2), "status": status})
    with engine.begin() as connection:
        connection.execute(_MAKE, rows)


def shoot(page: Page, path: str, name: str, height: int = 900) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
    page.screenshot(path=FOLDER / f"{name}.png", clip=clip, full_page=True)


def visit(page: Page, engine: Engine) -> None:
    dead = ops_factories.mark_dead(
        engine,
        ops_factories.answers("sci-unit-of-resistance", "geo-capital-canada", "sci-lightest-element"),
        "OperationalError 53100 at shared/replay.py:40 _learn",
    )
    page.goto("/ops/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Now").wait_for()
    shoot(page, "/ops/", "ops-now")
    shoot(page, f"/ops/uploads/{dead}/replay", "ops-replay", 560)
    shoot(page, f"/ops/uploads/{ops_factories.main_uuid()}", "ops-upload", 1190)
    shoot(page, f"/ops/learners/{ops_factories.SAMPLE}", "ops-learner", 1350)


def answer_sessions(page: Page, engine: Engine, url: str) -> None:
    """Answer three sessions on the quiz page: one is sent, one refused, and one waits without a network."""
    page.goto(f"{url}/viewer/#learner={ops_factories.SAMPLE}&token={TOKEN}")
    answer(page, "Geography", "31241")
    page.locator("#sessions .sent").wait_for()
    sent = page.locator("#sessions li[data-id]").get_attribute("data-id")
    factories.work_off(engine, {"client_session_uuid": sent})
    page.locator("#sessions .why").wait_for()
    page.route(f"**{PATH}", lambda route: route.fulfill(status=422, content_type=MEDIA_TYPE, body=REFUSED))
    page.get_by_role("button", name="Choose a topic").click()
    answer(page, "Science", "42312")
    page.locator("#sessions .refused").wait_for()
    page.unroute(f"**{PATH}")
    page.context.set_offline(True)
    page.get_by_role("button", name="Choose a topic").click()
    answer(page, "History", "12342")
    page.locator("#sessions .waiting").wait_for()


def answer(page: Page, topic: str, keys: str) -> None:
    page.get_by_role("button", name=topic).click()
    for key in keys:
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Finished").wait_for()


def shoot_viewer(browser: Browser, engine: Engine, url: str) -> None:
    for scheme, name in ((None, "viewer-phone"), ("dark", "viewer-dark")):
        # Without the service worker, since the test cannot answer its requests.
        phone = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "service_workers": "block"}
        context = browser.new_context(**phone, color_scheme=scheme)
        page = context.new_page()
        answer_sessions(page, engine, url)
        page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
        context.close()
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"{url}/viewer/#learner={ops_factories.SAMPLE}&token={TOKEN}")
    page.get_by_role("button", name="Geography").click()
    page.keyboard.press("2")
    page.screenshot(path=FOLDER / "viewer-question.png")


def take(settings: Settings) -> None:
    engine = create_engine(settings.database_url, poolclass=NullPool)
    ops_factories.load_sample(engine)
    make_day(engine)
    ops_factories.sweep(engine)
    server = Server(create_app(settings), settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with sync_playwright() as playwright, chromium(playwright) as browser:
        context = browser.new_context(
            base_url=f"http://127.0.0.1:{server.port}", viewport={"width": WIDTH, "height": 900}
        )
        visit(context.new_page(), engine)
        shoot_viewer(browser, engine, f"http://127.0.0.1:{server.port}")
    server.stop()
    thread.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o711)
        with Servers(Path(home) / "servers", durable=False) as servers:
            migrations.upgrade(servers.database_url)
            stores = {"database_url": servers.database_url, "broker_url": servers.broker_url}
            viewer = {"study_ingest_enabled": True, "viewer_sync_token": TOKEN, "viewer_page": True}
            take(Settings(**stores, **viewer, redis_url=servers.redis_url, port=0, ops_password=PASSWORD))


if __name__ == "__main__":
    main()
