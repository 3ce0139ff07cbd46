"""Settings of time that must fit each other."""

import pytest

from shared.config import BrokerSettings, Settings, load_settings
from shared.errors import ConfigurationError


def test_redis_delivers_a_message_again_only_after_its_replay_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKER_URL", "redis://localhost")
    monkeypatch.setenv("TASK_TIME_LIMIT", "120")
    with pytest.raises(ConfigurationError, match=r"^VISIBILITY_TIMEOUT: must be longer than TASK_TIME_LIMIT"):
        load_settings(BrokerSettings)
    monkeypatch.setenv("VISIBILITY_TIMEOUT", "121")
    assert load_settings(BrokerSettings).visibility_timeout == 121


@pytest.mark.parametrize("seconds", ["0", "inf", "nan", "1e10"])
@pytest.mark.parametrize("name", ["STORE_DEADLINE", "LOCK_TIMEOUT", "SWEEP_EVERY"])
def test_a_time_is_one_that_postgres_and_python_can_wait(
    monkeypatch: pytest.MonkeyPatch, name: str, seconds: str
) -> None:
    monkeypatch.setenv(name, seconds)
    with pytest.raises(ConfigurationError, match=f"{name}: Input should be"):
        load_settings(Settings)


def test_payloads_are_kept_for_a_century_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOAD_RETENTION_DAYS", "9999999999")
    with pytest.raises(ConfigurationError, match="UPLOAD_RETENTION_DAYS: Input should be less"):
        load_settings(Settings)
