"""The settings for viewers on learners' devices."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.config import Settings


def configured(**changes: Any) -> Settings:
    return Settings(database_url="postgresql://localhost/x", broker_url="redis://localhost", **changes)


@pytest.mark.parametrize(
    "origin",
    ["https://viewer.example", "http://localhost:5173", "https://v.example:8443", "capacitor://localhost",
     "http://[::1]:8080"],
)  # fmt: skip
def test_an_origin_is_what_a_browser_sends(origin: str) -> None:
    assert configured(viewer_origins=f" {origin}, https://b.example,").origins == {
        origin,
        "https://b.example",
    }


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "viewer.example", "https://viewer.example/", "https://Viewer.example", "https://*.example",
     "https://viewer.example:443", "http://viewer.example:80", "https://a@viewer.example", "https://", "//a"],
)  # fmt: skip
def test_what_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="each must be an origin as browsers write it"):
        configured(viewer_origins=origin)


def test_a_file_of_keys_needs_an_audience() -> None:
    with pytest.raises(ValidationError, match="must be set while VIEWER_TOKEN_KEYS is set"):
        configured(viewer_token_keys="/keys.json")


@pytest.mark.parametrize("rate", ["", "0/minute", "many", "600", "100/minute;1000/hour"])
def test_a_rate_is_a_number_and_a_span(rate: str) -> None:
    with pytest.raises(
        ValidationError, match="must be a number of requests for a span of time, such as 600/minute"
    ):
        configured(viewer_rate=rate)
