"""What goes wrong with the embedded servers."""

import click


class ServerError(click.ClickException):
    """An embedded server cannot run; the text says why and what to do."""
