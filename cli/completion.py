"""`completion`: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script, to be sourced: `source <(study-ingest completion bash)`."""
    if complete := get_completion_class(shell):
        script = complete(context.find_root().command, {}, "study-ingest", "_STUDY_INGEST_COMPLETE")
        # Not `source`, which would ask an installed bash for its version first.
        click.echo(script.source_template % script.source_vars())
