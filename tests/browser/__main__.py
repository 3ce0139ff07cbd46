"""The long form: `python -m tests.browser --long`; other arguments are pytest's."""

import sys

import pytest

sys.exit(pytest.main(["tests/browser", "-q", *sys.argv[1:]]))
