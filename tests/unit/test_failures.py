"""Which failures count as tries of an upload, by what Postgres says."""

import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from shared.failures import is_transient


@pytest.mark.parametrize(
    ("state", "transient"),
    [
        *[
            (state, True) for state in ("42P10", "42703", "42P01", "42883", "42501", "0A000")
        ],  # another schema
        *[(state, True) for state in ("25006", "57P01", "57P03", "08006", "40P01", "55P03")],  # or server
        *[(state, True) for state in ("53100", "53300", "26000")],  # a full disk; a pooler
        *[(state, False) for state in ("22P02", "23502", "23505", "P0001", "57014", "25P03", "XX000")],
    ],
)
def test_I9_only_what_may_be_an_uploads_own_fault_counts(state: str, *, transient: bool) -> None:
    refused = errors.lookup(state)("refused")
    error = DBAPIError.instance(None, None, refused, errors.Error, connection_invalidated=False)
    assert is_transient(error) is transient
