"""Where the output of several processes goes."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

Output = Callable[[str], BinaryIO]  # opens what a process of this name writes to
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")
LAST_WORDS_SECONDS = 1.0  # for what an ended process left in its pipe; a stray grandchild may keep it open


def to_files(directory: Path) -> Output:
    """Let each process write to a log of its own, which grows."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return lambda name: (directory / f"{name}.log").open("ab")


@contextmanager
def to_terminal() -> Iterator[Output]:
    """Show the lines of all processes, each under its process's name."""
    threads: list[threading.Thread] = []

    def open_pipe(name: str) -> BinaryIO:
        reading, writing = os.pipe()
        prefix = _prefix(name, COLOURS[len(threads) % len(COLOURS)])
        thread = threading.Thread(target=_show, args=(prefix, os.fdopen(reading, "rb")), daemon=True)
        threads.append(thread)
        thread.start()
        return os.fdopen(writing, "wb")

    try:
        yield open_pipe
    finally:
        for thread in threads:
            thread.join(LAST_WORDS_SECONDS)


def _prefix(name: str, colour: str) -> str:
    text = f"{name:<8} | "
    return click.style(text, fg=colour) if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def _show(prefix: str, pipe: BinaryIO) -> None:
    with pipe:
        for line in pipe:
            # What runs shall not stop because nobody reads on.
            with suppress(BrokenPipeError):
                click.echo(prefix + line.decode(errors="replace").rstrip())
