"""What the steps of the demo share: a running system, and a voice."""

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from sqlalchemy import Engine

from cli.lesson import Progress, read_progress
from cli.sender import Answer, Sender
from shared.errors import StudyIngestError

INDENT = 3
PATIENCE_S = 60.0  # workers that have just started take a few seconds


class BrokenPromiseError(StudyIngestError):
    """The demo took another turn than it should."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system, the database below it, and the terminal on which its story is told."""

    sender: Sender
    study_token: str
    engine: Engine
    default_zone: str
    console: Console

    def deliver(self, upload: str) -> Answer:
        """Send an upload and wait until it is ingested; raise BrokenPromiseError where it is not."""
        sent = self.sender.send(upload)
        if sent.answer is Answer.RECEIVED:
            sent = self.sender.wait(upload, time.monotonic() + PATIENCE_S)
        if sent.answer not in {Answer.INGESTED, Answer.ALREADY_INGESTED}:
            raise BrokenPromiseError(f"an upload is not ingested, but {sent.answer}: {sent.why}")
        return sent.answer

    def study(self, path: str, body: Any = None, *, method: str = "POST") -> dict[str, Any]:
        """Ask the live side; raise BrokenPromiseError where it refuses."""
        headers = {"Authorization": f"Bearer {self.study_token}"}
        response = self.sender.http.request(method, path, json=body, headers=headers)
        if not response.is_success:
            raise BrokenPromiseError(f"{method} {path} is answered {response.status_code}")
        answer: dict[str, Any] = response.json()
        return answer

    def progress(self, user_id: int) -> Progress:
        """Return what is known of a learner."""
        with self.engine.connect() as connection:
            return read_progress(connection, user_id)

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.console.print(" " * INDENT + text, soft_wrap=True)

    def show(self, *tables: Table) -> None:
        """Show tables, with air around them."""
        for table in tables:
            self.console.print(Padding(table, (1, 0, 0, INDENT), expand=False))
        self.console.print()

    def confirm(self, what: str) -> None:
        """Say that something is as it should be."""
        self.say(f"[green]✓[/] {what}")

    def expect(self, what: str, *, kept: bool) -> None:
        """Confirm what is so; raise BrokenPromiseError where it is not."""
        if not kept:
            raise BrokenPromiseError(f"this should be so and is not: {what}")
        self.confirm(what)
