"""A store's address that cannot be one is named before anything starts, and never repeated."""

import pytest

from shared.config import Settings, load_settings
from shared.errors import ConfigurationError

SOUND = {
    "DATABASE_URL": "postgresql://somebody@host/name",
    "BROKER_URL": "redis://host/0",
    "REDIS_URL": "redis://host/1",
}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (SOUND | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        *[("DATABASE_URL", url) for url in ("nonsense", "mysql://h/x", "postgresql://x@h:abc/x")],
        ("DATABASE_URL", "postgresql://x@[::bad/x"),
        ("DATABASE_URL", "postgresql://a:1,b:99999/x"),
        ("DATABASE_URL", "postgresql:///x?host=a&port=zwei"),
        ("DATABASE_URL", "postgresql:///x?host=a:1&host=b:2"),
        ("DATABASE_URL", "postgresql://a/x?sslmod=require"),
        *[("BROKER_URL", url) for url in ("nonsense", "foo://x", "redis://127.0.0.1:abc/0")],
        ("DATABASE_URL", "postgresql://a/x?ssl=maybe"),
        ("BROKER_URL", "redis+socket://name:password@/path"),
        *[("BROKER_URL", url) for url in ("REDISS://h/0", "Amqps://h//", "SENTINELS://a/0?master_name=m")],
        *[("BROKER_URL", url) for url in ("redis://a/0;rediss://b/0", "amqp://a//;amqps://b//")],
        ("REDIS_URL", "REDISS://h/1"),
        *[("BROKER_URL", f"sentinel://{rest}") for rest in ("a", "a/x?master_name=m", "a,:1?master_name=m")],
        *[("REDIS_URL", f"sentinel://{rest}") for rest in ("a", "a:x?master_name=m", "a?master_name=m&y=1")],
        *[("REDIS_URL", url) for url in ("nonsense", "http://x", "redis://h:abc/1")],
    ],
)
def test_an_address_that_cannot_be_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as refused:
        load(monkeypatch, **{name: url})
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgres://u:p@h:5432/x?host=/tmp"),
        ("DATABASE_URL", "postgresql://a:1,b:2/x?target_session_attrs=read-write"),
        ("DATABASE_URL", "postgresql:///x?host=a,b&port=1,2&target_session_attrs=primary"),
        ("DATABASE_URL", "postgresql://u@[::1],h/x?options=-csearch_path%3Dstudy"),
        ("DATABASE_URL", "postgresql://h/x?ssl=true"),
        ("BROKER_URL", "redis+socket:///tmp/sock?virtual_host=0"),
        ("BROKER_URL", "amqp://guest:guest@host//"),
        ("BROKER_URL", "rediss://a/0;rediss://b/0"),
        ("BROKER_URL", "sentinel://a:26379,b/0?master_name=m"),
        ("BROKER_URL", "sentinels://u:p%40@[::1]:1,b:2?master_name=m&sentinel_password=s"),
        ("REDIS_URL", "sentinel://:p@a/1?master_name=m"),
        ("REDIS_URL", "unix:///tmp/sock?db=1"),
        ("REDIS_URL", ""),
    ],
)
def test_an_address_of_every_documented_kind_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    assert load(monkeypatch, **{name: url})


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SOUND:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as refused:
        load_settings(Settings)
    assert str(refused.value).splitlines() == ["DATABASE_URL: must be set", "BROKER_URL: must be set"]
