"""The command line: the commands and `--env-file`; a known error is printed without a traceback."""

import atexit
import errno
import gc
import os
from itertools import islice
from pathlib import Path
from typing import Any

from cli.env_file import read_env_file
from cli.lazy import LazyGroup, click  # `cli.lazy` handles Ctrl-C while click loads
from shared.errors import StudyIngestError

# Without this, the interpreter looks for garbage among all loaded objects before it exits: 0.1 s a command.
atexit.register(gc.freeze)

ENV_FILE = "--env-file"
COMMANDS = {
    "adopt": ("cli.adopt", "Print SQL that lets study-ingest read a document server's tables."),
    "catalog": ("cli.catalog", "Load learners, topics and questions."),
    "conflicts": ("cli.conflicts", "Decide between two contents with the same uuid."),
    "demo": ("cli.demo", "Start everything, send a sample of sessions, and show what was learned."),
    "doctor": ("cli.doctor", "Check settings, stores and processes."),
    "export": ("cli.exports", "Write all attempts, or all progress, as they are at one moment."),
    "import": ("cli.imports", "Record past sessions from the review log of Anki."),
    "learners": ("cli.maintenance", "Export or delete all data of a learner."),
    "metrics": ("cli.maintenance", "Serve the metrics of this host's processes to Prometheus."),
    "migrate": ("cli.maintenance", "Bring the database to the newest revision."),
    "progress": ("cli.maintenance", "Print a learner's progress."),
    "smoke": ("cli.smoke", "Send a synthetic session twice, check that it counts once, and void it."),
    "stats": (
        "cli.maintenance",
        "Count what waits and what failed, and the uploads of the last hour and day.",
    ),
    "tokens": ("cli.tokens", "Make keys, and sign learners' tokens with them."),
    "up": ("cli.local.up", "Start everything and keep it running."),
    "upload": ("cli.uploads", "Send the uploads of an NDJSON FILE."),
    "uploads": ("cli.uploads", "Find uploads, and act on them."),
    "verify": ("cli.maintenance", "Fold all attempts again, and compare with the stored progress."),
    "webhooks": ("cli.webhooks", "List webhooks, and send failed ones again."),
}


class _Main(LazyGroup):
    """Read `--env-file` before or after the command; print a known error without a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `--env-file`, wherever it stands, as an option of the group."""
        files, rest, words = [], [], iter(args)
        for word in words:
            if word.partition("=")[0] == ENV_FILE:
                files += [word] if "=" in word else [word, *islice(words, 1)]
            else:
                rest.append(word)
        return super().parse_args(ctx, files + rest)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            for file in ctx.params["env_file"]:
                os.environ.update(read_env_file(file))
            # Commands write no metrics: their counts would stay among those of the long-running processes.
            ctx.obj = os.environ.pop("PROMETHEUS_MULTIPROC_DIR", "")
            if os.environ.get("NO_COLOR"):  # https://no-color.org; click ignores this variable
                ctx.color = False
            return super().invoke(ctx)
        except StudyIngestError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:  # mostly about a path in the arguments
            if error.errno == errno.EPIPE:
                raise  # click then ends the command silently
            reason = (error.strerror or str(error)).lower()
            raise click.ClickException(f"{error.filename}: {reason}" if error.filename else reason) from None


@click.group(cls=_Main, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="study-ingest")
@click.option(
    ENV_FILE,
    type=click.Path(path_type=Path),
    multiple=True,
    help="File of settings, in the format of systemd's EnvironmentFile. The option may stand before or after"
    " the command, and more than once.",
)
def main(env_file: tuple[Path, ...]) -> None:
    """Ingest quiz sessions that were answered offline in a viewer: exactly once, in any order."""
