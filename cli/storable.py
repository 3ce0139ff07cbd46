"""Values of the command line that Postgres can keep or compare."""

import click

BIGINT = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(1, 2**63 - 1)


LONGEST_TEXT = 500


class Text(click.ParamType[str]):
    """Read a text of a line or so, without NUL or bytes that are no text in the terminal's encoding.

    An empty one is a mistake: a variable of somebody's script that is unset, and every row holds it.
    """

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return what was typed."""
        if "\0" in value or not _is_unicode(value):
            self.fail("must be UTF-8 text without NUL", param, ctx)
        if not 0 < len(value.strip()) <= LONGEST_TEXT:
            self.fail(f"must have 1 to {LONGEST_TEXT} characters", param, ctx)
        return value.strip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
