"""Flower's logins and the broker's address are right, or nothing starts; what is wrong is not repeated."""

import os
from pathlib import Path

import pytest

from shared.config import BrokerSettings, Settings, flower_logins, load_settings
from shared.errors import ConfigurationError
from tests.processes import FOREIGN, as_root
from worker.flower import require_private

STORES = {"DATABASE_URL": "postgresql://somebody@host/name", "BROKER_URL": "redis://host"}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (STORES | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_several_may_log_in() -> None:
    assert flower_logins("ann:one:two, ben:three,") == ["ann:one:two", "ben:three"]


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_somebody_must_log_in(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FLOWER_BASIC_AUTH: must be set"):
        flower_logins(text)


@pytest.mark.parametrize("login", ["hidden", "hidden:", ":hidden", "ann:one,hidden", "ann:hiddén"])
def test_a_login_has_a_name_and_a_password(login: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FLOWER_BASIC_AUTH: .*name:password") as refused:
        flower_logins(login)
    assert "hidd" not in str(refused.value)


@pytest.mark.parametrize("user", ["user:hidden@", ":hidden@", ":hid/den@"])
def test_a_brokers_socket_has_no_password(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^BROKER_URL: .*no user or password") as refused:
        load(monkeypatch, BROKER_URL=f"redis+socket://{user}/run/redis.sock")
    assert "hid" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+socket:///run/redis.sock?virtual_host=0", "redis://user:hidden@host"])
def test_a_password_goes_over_tcp(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, BROKER_URL=url).broker_url == url


def test_it_needs_no_secret_but_the_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STORES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROKER_URL", "redis://host")
    assert load_settings(BrokerSettings).broker_url == "redis://host"


@pytest.fixture
def state(home: Path) -> Path:
    return home / "flower.db"


def test_its_state_may_be_missing_or_its_own(state: Path) -> None:
    require_private(state)
    state.touch(mode=0o600)
    require_private(state)


@pytest.mark.parametrize(
    ("what", "mode"),
    [("flower.db", 0o622), ("flower.db.dat", 0o602), (".", 0o777), (".", 0o1777), (".", 0o722)],
)
def test_its_state_is_no_pickle_that_others_may_write(state: Path, what: str, mode: int) -> None:
    changed = state.parent / what
    changed.touch()
    if what == ".":
        os.chown(changed, -1, FOREIGN) if os.geteuid() == 0 else mode == 0o722 and pytest.skip(
            "only root can"
        )
    changed.chmod(mode)
    with pytest.raises(
        ConfigurationError, match=f"^FLOWER_DB: another user could run code in Flower, as {changed} is a link"
    ):
        require_private(state)


def test_its_state_is_no_link(state: Path) -> None:
    state.symlink_to(state.parent / "elsewhere")
    with pytest.raises(
        ConfigurationError, match=r"^FLOWER_DB: another user could run code in Flower, as .* is a link"
    ):
        require_private(state)


@as_root
@pytest.mark.parametrize("what", ["flower.db", "flower.db.dir", "."])
def test_its_state_is_no_pickle_that_others_own(state: Path, what: str) -> None:
    planted = state.parent / what
    planted.touch(mode=0o600)
    os.chown(planted, FOREIGN, FOREIGN)
    with pytest.raises(
        ConfigurationError, match=r"^FLOWER_DB: another user could run code in Flower, as .* is a link"
    ):
        require_private(state)
