"""The operators' pages are on: a password is set."""

import pytest
from pydantic import SecretStr

from shared.config import Settings
from tests.clients import PASSWORD


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ops_password": SecretStr(PASSWORD)})
