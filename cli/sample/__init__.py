"""A small catalog of our own, and the sessions of its one learner: what the demo sends."""

from pathlib import Path

from shared.catalog_admin import CatalogFile, read_catalog

HERE = Path(__file__).parent
LEARNER = 42  # not 1: a real catalog's first learner may share the database


def read_sample_catalog() -> CatalogFile:
    """Return forty questions of three topics, and their learner."""
    return read_catalog(HERE / "catalog.json")


def earlier_uploads() -> list[str]:
    """Return the uploads of the weeks before, oldest first, as JSON texts."""
    return (HERE / "earlier.ndjson").read_text("utf-8").splitlines()


def main_upload() -> str:
    """Return the upload that shows every outcome, every pattern, a repeat and an unknown question."""
    return (HERE / "session.json").read_text("utf-8")
