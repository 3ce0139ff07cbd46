"""Flower's logins and the broker's address are right, or nothing starts; what is wrong is not repeated."""

import pytest

from shared.config import Settings, load_settings
from shared.errors import ConfigurationError
from worker.flower import logins

STORES = {"DATABASE_URL": "postgresql://somebody@host/name", "BROKER_URL": "redis://host"}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (STORES | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_several_may_log_in() -> None:
    assert logins("ann:one:two, ben:three,") == ["ann:one:two", "ben:three"]


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_somebody_must_log_in(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FLOWER_BASIC_AUTH: must be set"):
        logins(text)


@pytest.mark.parametrize("login", ["hidden", "hidden:", ":hidden", "ann:one,hidden", "ann:hiddén"])
def test_a_login_has_a_name_and_a_password(login: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FLOWER_BASIC_AUTH: .*name:password") as refused:
        logins(login)
    assert "hidd" not in str(refused.value)


@pytest.mark.parametrize("user", ["user:hidden@", ":hidden@", ":hid/den@"])
def test_a_brokers_socket_has_no_password(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^BROKER_URL: .*no user or password") as refused:
        load(monkeypatch, BROKER_URL=f"redis+socket://{user}/run/redis.sock")
    assert "hid" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+socket:///run/redis.sock?virtual_host=0", "redis://user:hidden@host"])
def test_a_password_goes_over_tcp(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, BROKER_URL=url).broker_url == url
