"""The command group `catalog`, and the argument FILE of its commands `load` and `sync`."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cli.lazy import LazyGroup
from cli.options import COUNT, FILE, phrase, read_file, read_lines
from shared import catalog_files, catalog_form
from shared.catalog_form import CatalogFile
from shared.errors import CatalogError

FORCE = "Also change keys (answers are graded again), texts and owners of editions that have answers."
Parts = Callable[[], Iterable[CatalogFile]]
COMMANDS = {
    "load": (
        "cli.catalog_load",
        "Load learners, topics and questions from a FILE; loading it again changes nothing.",
    ),
    "reconcile": (
        "cli.catalog_load",
        "List answers that the present keys grade differently, and learners who were deleted.",
    ),
    "sync": (
        "cli.catalog_sync",
        "Send what differs from a server's catalog, and withdraw what FILE does not have.",
    ),
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def catalog() -> None:
    """Load learners, topics and questions."""


def with_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the function `parts` to a command: it yields the catalog of the command's FILE.

    The command also gets `is_table`, see `catalog_files.Read`. What was skipped in the file is printed.

    If the name of the file has `.ndjson`, each call reads the file again, and each line is a part. NDJSON
    without such a name is read once. A catalog in another form is one part.
    """

    @click.argument("file", type=FILE)
    @click.option("--learner", type=COUNT, metavar="ID", help="Owner of questions that name no learner.")
    @click.option(
        "--topic",
        type=phrase,
        metavar="NAME",
        help="Topic of questions that name no topic; in Moodle's XML and QTI, of all questions.",
    )
    @wraps(command)
    def run(*args: Any, file: Path, learner: int | None, topic: str | None, **options: Any) -> Any:
        if ".ndjson" in file.suffixes:
            catalog_files.refuse_options(learner, topic)
            return command(*args, parts=lambda: _parts(read_lines(file)), is_table=False, **options)
        content = read_file(file)
        if catalog_files.is_ndjson(content):  # such as standard input, which has no name
            catalog_files.refuse_options(learner, topic)
            return command(*args, parts=lambda: _parts(content.split(b"\n")), is_table=False, **options)
        whole = catalog_files.read(content, learner=learner, topic=topic)
        for line in whole.skipped:
            click.echo(f"skipped: {line}", err=True)
        return command(*args, parts=lambda: [whole.catalog], is_table=whole.is_table, **options)

    return run


def _parts(lines: Iterable[bytes]) -> Iterator[CatalogFile]:
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                yield catalog_form.read_catalog(line)
        except CatalogError as error:
            # Each part is one line, which the errors take for line 1.
            mistakes = (re.sub("^line 1[,:] ", "", each) for each in str(error).split("\n"))
            raise CatalogError("\n".join(f"line {number}: {each}" for each in mistakes)) from None
