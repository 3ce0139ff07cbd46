"""The page that Prometheus reads."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.config import Settings
from shared.metrics.stores import Stores

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Page:
    """Compose what all processes of this host have counted, and what the stores know."""

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Files(Path(settings.metrics_dir)))
        self._registry.register(Stores(settings))

    def compose(self) -> bytes:
        """Read it all anew."""
        return generate_latest(self._registry)


class _Files(Collector):
    """Add up the files of all processes, the dead ones' too.

    A file is empty for a moment when it is made, and for ever if its process is killed then. The library's
    own collector would fail at it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._directory.glob("*.db") if file.stat().st_size]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found
