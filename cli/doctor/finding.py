"""What one check found."""

from typing import Literal, NamedTuple

import click

Level = Literal["ok", "warn", "fail"]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """What a check found: `warn` can be meant so, `fail` cannot; `mend` says what to do."""

    check: str
    level: Level
    said: str
    mend: str = ""


def ok(check: str, said: str) -> Finding:
    """Find nothing wrong."""
    return Finding(check, "ok", said)


def warn(check: str, said: str, mend: str) -> Finding:
    """Find what may be meant so."""
    return Finding(check, "warn", said, mend)


def fail(check: str, said: str, mend: str) -> Finding:
    """Find what is wrong."""
    return Finding(check, "fail", said, mend)


def line(finding: Finding) -> str:
    """Write a finding for a terminal, its mend below it."""
    level = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level])
    mend = f"\n     mend: {finding.mend}" if finding.mend else ""
    return f"{level} {finding.check}: {finding.said}{mend}"
