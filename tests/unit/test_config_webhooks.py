"""Webhooks are configured rightly, or nothing starts; what is wrong is named, not repeated."""

import pytest

from shared.config import Settings, load_settings
from shared.errors import ConfigurationError

STORES = {"DATABASE_URL": "postgresql://somebody@host/name", "BROKER_URL": "redis://host"}
KEY = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
URL = "https://receiver.example/path"


def load(monkeypatch: pytest.MonkeyPatch, url: str, secrets: str) -> Settings:
    variables = {"WEBHOOK_URL": url, "WEBHOOK_SECRETS": secrets}
    for name, value in (STORES | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:80/", URL])
def test_a_receiver_is_optional(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    settings = load(monkeypatch, url, f"{KEY}, {KEY},")
    assert settings.webhook_url == url
    assert settings.webhook_keys == (b"secret-secret-secret-secret",) * 2
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        *("receiver.example", "ftp://receiver.example", "https://", "https:///path", "/path"),
        *("https://name:password@receiver.example", "https://receiver.example:port", "https://recei ver"),
    ],
)
def test_a_malformed_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^WEBHOOK_URL: .*must be an http") as refused:
        load(monkeypatch, url, KEY)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    "secrets",
    [
        "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0",
        f"{KEY},whsec_",
        "whsec_c2hvcnQ=",
        f"whsec_{'QUJD' * 22}",
        f"{KEY}!",
        f"{KEY};{KEY}",
    ],
)
def test_a_malformed_secret_is_refused(monkeypatch: pytest.MonkeyPatch, secrets: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^WEBHOOK_SECRETS: .*each key must be") as refused:
        load(monkeypatch, URL, secrets)
    assert secrets not in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_receiver_without_secrets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"^WEBHOOK_SECRETS: .*must be set"):
        load(monkeypatch, URL, " , ")
