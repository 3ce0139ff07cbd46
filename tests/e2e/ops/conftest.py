"""One installation and one browser for all tests of the page; each test takes uploads of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from cli.local.servers import Servers
from shared.config import Settings
from tests import ops_factories
from tests.chromium import chromium
from tests.clients import PASSWORD
from tests.conftest import TEMPLATE, fresh_database
from tests.processes import PATIENCE_S, Processes, processes


@pytest.fixture(scope="session")
def ops_settings(servers: Servers, template_url: str) -> Iterator[Settings]:
    assert template_url
    for url in fresh_database(servers, TEMPLATE):
        yield Settings(
            database_url=url,
            # Its own: the other tests of a run wipe theirs.
            broker_url=servers.broker_url.replace("virtual_host=0", "virtual_host=7"),
            redis_url=servers.redis_url.replace("db=1", "db=8"),
            study_ingest_enabled=True,
            viewer_sync_token="viewer-token-of-tests",
            ops_password=SecretStr(PASSWORD),
        )


@pytest.fixture(scope="session")
def ops_engine(ops_settings: Settings) -> Iterator[Engine]:
    engine = create_engine(ops_settings.database_url, poolclass=NullPool)
    ops_factories.load(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def ops_house(ops_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(ops_settings, tmp_path_factory.mktemp("ops")) as running:
        yield running


@pytest.fixture(scope="session")
def ops_url(ops_house: Processes, ops_engine: Engine) -> str:
    """Serve the page, and work uploads off."""
    assert ops_engine
    for name in ("worker", "sweeper"):
        ops_house.start(name)
    return ops_house.serve()


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def operator(browser: Browser, ops_url: str) -> Iterator[BrowserContext]:
    """Log in once."""
    context = browser.new_context(base_url=ops_url)
    page = context.new_page()
    page.goto("/ops/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Now").wait_for()
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(operator: BrowserContext) -> Iterator[Page]:
    page = operator.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    page.close()
