"""Values of the command line that Postgres can keep or compare."""

import click

BIGINT = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(1, 2**63 - 1)


class Text(click.ParamType[str]):
    """Read text without NUL, and without bytes that are no text in the terminal's encoding."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return what was typed."""
        if "\0" in value or not _is_unicode(value):
            self.fail("must be UTF-8 text without NUL", param, ctx)
        return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
