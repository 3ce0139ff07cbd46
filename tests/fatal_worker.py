"""A worker that dies or hangs at one question, each time after adding a character to the file FATAL_TALLY."""

import ctypes
import os
from pathlib import Path
from typing import Any

from shared import attempts
from worker.app import app

__all__ = ["app"]

FATAL = "q-fatal"
_load_questions = attempts.load_questions


def _die() -> None:
    with Path(os.environ["FATAL_TALLY"]).open("a") as tally:
        tally.write("x")
    if os.environ["FATAL_WAY"] == "exit":
        os._exit(1)
    if os.environ["FATAL_WAY"] == "segfault":
        ctypes.string_at(0)
    while True:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001, S112  # not even the soft time limit ends this loop
            continue


def _load_or_die(connection: Any, pub_ids: Any) -> Any:
    if FATAL in pub_ids:
        _die()
    return _load_questions(connection, pub_ids)


attempts.load_questions = _load_or_die
