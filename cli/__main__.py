"""Run a command where the console script is not on PATH: `python -m cli`."""

from cli.main import main

main()
