"""Settings of time that must fit each other."""

import pytest

from shared.config import BrokerSettings, load_settings
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
