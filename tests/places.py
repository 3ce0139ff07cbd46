"""Directories for servers."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Make a directory through which the servers' user may pass, as pytest's own are not for root."""
    with tempfile.TemporaryDirectory(prefix="study-ingest-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path
