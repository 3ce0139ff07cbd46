"""Tokens that can be guessed, or that open more than one side, are refused and never repeated."""

import pytest

from shared.config import Settings, load_settings
from shared.errors import ConfigurationError

STORES = {"DATABASE_URL": "postgresql://somebody@host/name", "BROKER_URL": "redis://host"}
ONE, TWO, THREE = (f"{n}-token-of-tests" for n in range(3))


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (STORES | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        *[(name, {name: ONE[1:]}) for name in ("VIEWER_SYNC_TOKEN", "STUDY_API_TOKEN", "METRICS_TOKEN")],
        ("OPS_PASSWORD", {"OPS_PASSWORD": "12345678901"}),
        ("VIEWER_SYNC_TOKEN", {"VIEWER_SYNC_TOKEN": f"{ONE},short"}),
        ("VIEWER_SYNC_TOKEN", {"VIEWER_SYNC_TOKEN": f"{ONE},{TWO}, {ONE}"}),
        ("STUDY_API_TOKEN", {"VIEWER_SYNC_TOKEN": f"{ONE},{TWO}", "STUDY_API_TOKEN": f"{THREE},{TWO}"}),
        ("METRICS_TOKEN", {"STUDY_API_TOKEN": ONE, "METRICS_TOKEN": ONE}),
        ("OPS_PASSWORD|METRICS_TOKEN", {"OPS_PASSWORD": ONE, "METRICS_TOKEN": ONE}),
        ("OPS_PASSWORD", {"VIEWER_SYNC_TOKEN": f"{TWO},{ONE}", "OPS_PASSWORD": ONE}),
    ],
)
def test_a_token_that_is_short_or_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, variables: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match=f"^({name}): ") as refused:
        load(monkeypatch, **variables)
    assert "\n" not in str(refused.value)
    for secret in (ONE, TWO, THREE, ONE[1:], "short"):
        assert secret not in str(refused.value)


def test_a_comma_in_the_password_is_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, OPS_PASSWORD="yes, of course", VIEWER_SYNC_TOKEN=ONE)
    assert settings.ops_password.get_secret_value() == "yes, of course"


def test_tokens_may_be_several_and_end_in_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, VIEWER_SYNC_TOKEN=f" {ONE}, ,{TWO},", STUDY_API_TOKEN=THREE, OPS_PASSWORD="")
    assert (settings.viewer_tokens, settings.study_tokens) == ((ONE, TWO), (THREE,))
