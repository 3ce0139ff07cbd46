"""One installation for all tests of a browser; each takes learners and devices of its own."""

import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Playwright
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from cli import sample
from cli.demo import LEARNER as SAMPLE
from cli.demo import LIVE, VIEWER
from cli.local.servers import Servers
from shared import tokens
from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile
from shared.config import Settings
from shared.study.store import list_progress
from tests import factories
from tests.browser.device import UNSENT, Device, device
from tests.browser.proxy import Proxy, proxying
from tests.conftest import TEMPLATE, fresh_database
from tests.processes import Processes, free_port, processes, until

LEARNERS = 180
# So many further on is a learner with the same questions in the same zone, who gets the reference delivery.
TWIN = 90
ATTEMPTS = 3
AUDIENCE = "https://ds.example"
TOKEN = "viewer-token-of-tests"
# Tokens that say which tab sent a session.
TABS = [f"token-of-tab-{number}-of-tests" for number in range(5)]
PATIENCE_S = 180.0
_KEPT = text("""
    SELECT CAST(client_session_uuid AS text), status FROM uploads
    WHERE CAST(client_session_uuid AS text) = ANY(:uuids)
""")
_REJECTED = text("""
    SELECT CAST(client_session_uuid AS text), reason FROM uploads
    WHERE CAST(client_session_uuid AS text) = ANY(:uuids) AND status = 'rejected'
""")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="as often as the goals say, instead of a few times")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give these tests more time than the others: they wait for pauses, and kill browsers a hundred times."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600 if config.getoption("--long") else 600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for each in terminalreporter.getreports("passed") if each.when == "call"]
    figures = [f"{each.head_line}: {line}" for each in reports for _, line in each.user_properties]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)


@dataclass(frozen=True)
class Run:
    """The short form or the long one, and what is printed at the end."""

    is_long: bool
    record: Callable[[str, object], None]

    def times(self, short: int, long: int) -> int:
        return long if self.is_long else short

    def figure(self, line: str) -> None:
        self.record("figure", line)


@pytest.fixture
def run(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Run:
    return Run(request.config.getoption("--long"), record_property)


class Issuer:
    """Where learners sign in: it signs their tokens, and writes the server's file of keys."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on; tokens of the old one are good no more."""
        self._key = tokens.generate_key("EdDSA")
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"keys": [tokens.public_half(self._key)]}))
        new.replace(self.file)

    def token(self, learner: int, valid: timedelta = timedelta(hours=12)) -> str:
        now = datetime.now(UTC) - (timedelta(days=1) if valid <= timedelta(0) else timedelta(0))
        return tokens.mint(self._key, learner, audience=AUDIENCE, issuer="", now=now, valid=abs(valid))


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="session")
def viewer_settings(servers: Servers, template_url: str, issuer: Issuer) -> Iterator[Settings]:
    assert template_url
    port = free_port()
    for url in fresh_database(servers, TEMPLATE):
        yield Settings(
            port=port,
            # The same server by another name: another origin to a browser.
            viewer_origins=f"http://localhost:{port}",
            viewer_token_keys=str(issuer.file),
            viewer_token_audience=AUDIENCE,
            viewer_rate="100000/minute",
            database_url=url,
            broker_url=servers.broker_url.replace("virtual_host=0", "virtual_host=6"),
            redis_url=servers.redis_url.replace("db=1", "db=9"),
            study_ingest_enabled=True,
            viewer_sync_token=",".join([TOKEN, *TABS]),
            viewer_page=True,
            store_deadline=10.0,
        )


@pytest.fixture(scope="session")
def viewer_engine(viewer_settings: Settings) -> Iterator[Engine]:
    engine = create_engine(viewer_settings.database_url, poolclass=NullPool)
    with engine.begin() as connection:
        load_catalog(connection, without_the_sample(factories.many_learners(LEARNERS)))
    yield engine
    engine.dispose()


def without_the_sample(catalog: CatalogFile) -> CatalogFile:
    """Leave out the learners that the sample's catalog has."""
    learners = {SAMPLE, LIVE, VIEWER}
    return CatalogFile(
        users=[each for each in catalog.users if each.id not in learners],
        topics=[each for each in catalog.topics if each.user_id not in learners],
        questions=[each for each in catalog.questions if each.user_id not in learners],
    )


@dataclass
class Installation:
    """The processes, and the address of the web process, which stays the same over restarts."""

    house: Processes
    engine: Engine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.house.settings.port}"

    def start_web(self) -> None:
        self.house.start("web")
        self.house.until_ready(self.url)


@pytest.fixture(scope="session")
def installation(
    viewer_settings: Settings, viewer_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with processes(viewer_settings, tmp_path_factory.mktemp("viewer")) as house:
        for name in ("worker", "sweeper"):
            house.start(name)
        made = Installation(house, viewer_engine)
        made.start_web()
        yield made


@pytest.fixture
def proxy(installation: Installation) -> Iterator[Proxy]:
    with proxying(installation.url) as proxy:
        yield proxy


@pytest.fixture
def phone(playwright: Playwright, proxy: Proxy, tmp_path: Path) -> Iterator[Device]:
    """Give a test a device whose network is the proxy."""
    with device(playwright, tmp_path / "profile", proxy) as made:
        yield made


_learners = (number for number in itertools.count(1) if number not in {SAMPLE, LIVE, VIEWER})


@dataclass
class Learner:
    """A learner, the sessions that were made for them, and what became of these."""

    number: int
    engine: Engine
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str = TOKEN

    def sessions(self, count: int, attempts: int = ATTEMPTS) -> list[dict[str, Any]]:
        rng = random.Random(f"{self.number} {len(self.made)} {os.getpid()}")
        made = [factories.random_upload(rng, self.number, attempts) for _ in range(count)]
        for each in made:
            del each["sent_at"]
        self.made |= {each["client_session_uuid"]: each for each in made}
        return made

    def await_ingested(self, uuids: set[str]) -> None:
        # All of one learner are ingested one after the other.
        patience = max(PATIENCE_S, 0.2 * len(uuids))
        until(lambda: self._standing(uuids)["received"] == 0, "all are worked off", patience)

    def lost(self, uuids: set[str]) -> int:
        """Count the sessions that are not ingested."""
        self.await_ingested(uuids)
        return len(uuids) - self._standing(uuids)["ingested"]

    def progress_is_that_of_one_delivery(self, uuids: set[str]) -> bool:
        """Compare with a twin, to whom each session is delivered once, in order."""
        self.await_ingested(uuids)
        twin = self.number + TWIN
        for upload in sorted((self.made[uuid] for uuid in uuids), key=lambda each: each["finished_at"]):
            written = json.dumps(upload).replace(f"q-{self.number}-", f"q-{twin}-")
            factories.ingest(self.engine, json.loads(written) | {"client_session_uuid": _other(upload)})
        mine, reference = (
            [line | {"pub_id": line["pub_id"].rpartition("-")[2]} for line in learner.progress()]
            for learner in (self, Learner(twin, self.engine))
        )
        return mine == reference

    def progress(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [*list_progress(connection, self.number)]

    def rejections(self, uuids: set[str]) -> dict[str, str]:
        with self.engine.connect() as connection:
            return dict(connection.execute(_REJECTED, {"uuids": sorted(uuids)}).all())

    def _standing(self, uuids: set[str]) -> Counter[str]:
        with self.engine.connect() as connection:
            rows = connection.execute(_KEPT, {"uuids": sorted(uuids)}).all()
        return Counter(status for _, status in rows)


def _other(upload: dict[str, Any]) -> str:
    uuid = upload["client_session_uuid"]
    return uuid[:-1] + ("0" if uuid[-1] != "0" else "1")


@pytest.fixture
def learner(viewer_engine: Engine) -> Learner:
    """Give a test a learner whom no other test has."""
    number = next(_learners)
    assert number < TWIN
    return Learner(number, viewer_engine)


other_learner = learner  # for a test of two


@pytest.fixture
def sample_learner(viewer_engine: Engine) -> Learner:
    """Give a test the learner of the sample, whose questions the page has."""
    with viewer_engine.begin() as connection:
        load_catalog(connection, sample.read_catalog())
    return Learner(SAMPLE, viewer_engine)


def drained(page: Page, patience: float = PATIENCE_S) -> None:
    """Wait until all that is added to an outbox is sent."""
    until(lambda: page.evaluate(UNSENT) == 0, "the outbox is empty", patience)
