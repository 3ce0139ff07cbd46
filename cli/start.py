"""The console script: loads the commands, which takes long enough to be interrupted."""

import sys
from importlib import import_module

INTERRUPTED = 130  # as shells say of a program that Ctrl-C ended


def start() -> None:
    """Run the command line; end without a traceback where Ctrl-C comes before it has begun."""
    try:
        commands = import_module("cli.main")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    commands.main()
