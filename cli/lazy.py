"""Commands whose modules are loaded only when needed: loading all modules takes two seconds."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["LazyGroup", "click"]

INTERRUPTED = 130  # the exit code that a shell reports after Ctrl-C

try:
    import click
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)


class LazyGroup(click.Group):
    """A group of commands; `modules`: for each command, its module and the first line of its help."""

    def __init__(self, *args: Any, modules: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Return a stand-in for help and completion: the command's name, and the first line of its help."""
        if cmd_name not in self._modules:
            return None
        return click.Command(cmd_name, short_help=self._modules[cmd_name][1])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load and return the command itself, to be run or completed."""
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:
            return name, listed, rest
        try:
            module = import_module(self._modules[name][0])
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

        # `import` is a keyword of Python, so the function of this command is named `import_`.
        return name, getattr(module, name, None) or getattr(module, f"{name}_"), rest
