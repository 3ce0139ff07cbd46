"""`tokens`: make keys, and sign learners' tokens with them."""

import json
import os
import stat
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from cli.local.places import data_dir_option, read_env_as_owner
from cli.options import duration
from shared.tokens import HIGHEST_LEARNER, UNREADABLE_KEY, generate_key, load_keys, mint, public_half

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def tokens() -> None:
    """Make keys, and sign learners' tokens with them."""


@tokens.command()
@click.option("--signing-key", type=FILE, required=True, help="New file, for the key that signs.")
@click.option(
    "--keys", type=FILE, envvar="VIEWER_TOKEN_KEYS", required=True, help="The server's file of keys."
)
@click.option("--algorithm", type=click.Choice(["EdDSA", "HS256"]), default="EdDSA", show_default=True)
def keygen(*, signing_key: Path, keys: Path, algorithm: str) -> None:
    """Make a key to sign with, and add its public half to the server's file of keys.

    With HS256 both files hold the same secret: use HS256 only if both are on one host. The server reads a
    changed file by itself. To revoke a key, delete the key from the server's file.
    """
    if signing_key.exists():
        raise click.ClickException(f"{signing_key} exists: choose another file")
    if algorithm == "HS256" and keys.exists() and keys.stat().st_mode & stat.S_IROTH:
        raise click.ClickException(
            f"{keys} can be read by every user, and a key of HS256 is secret: chmod o= {keys}"
        )
    known = json.loads(keys.read_bytes())["keys"] if keys.exists() and load_keys(keys) else []
    key = generate_key(algorithm)
    # The signing key last: an interrupted command can be run again.
    _write(keys, {"keys": [*known, public_half(key)]}, mode=0o644 if algorithm == "EdDSA" else 0o600)
    _write(signing_key, key, mode=0o600)
    click.echo(f"{signing_key} signs, {keys} verifies; key id {key['kid']}")


def _write(path: Path, value: object, *, mode: int) -> None:
    """Write a file in one step: with half a file of keys, the server would not start. Owner and mode stay."""
    path = path.resolve()
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(value, indent=2) + "\n")
            if path.exists():
                known = path.stat()
                mode = stat.S_IMODE(known.st_mode)
                if (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
                    os.chown(handle, known.st_uid, known.st_gid)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


@tokens.command("mint")
@click.option("--learner", type=click.IntRange(1, HIGHEST_LEARNER), required=True, metavar="ID")
@click.option(
    "--for", "valid", type=duration, default="12h", show_default=True, help="How long the token is valid."
)
@click.option(
    "--signing-key",
    type=FILE,
    envvar="VIEWER_SIGNING_KEY",
    help="File with the key that signs, made by `tokens keygen`.",
)
@click.option("--audience", envvar="VIEWER_TOKEN_AUDIENCE")
@click.option("--issuer", envvar="VIEWER_TOKEN_ISSUER", default="")
@data_dir_option
def mint_(  # noqa: PLR0913  # one for each option
    *,
    learner: int,
    valid: timedelta,
    signing_key: Path | None,
    audience: str | None,
    issuer: str,
    data_dir: Path,
) -> None:
    """Print a token for a learner.

    The key and the audience come from the options, else from VIEWER_SIGNING_KEY and VIEWER_TOKEN_AUDIENCE in
    the environment, else from a running `up`.
    """
    running = {} if signing_key and audience else read_env_as_owner(data_dir)
    if not signing_key:
        if not running["VIEWER_SIGNING_KEY"]:
            raise click.ClickException("the running `up` has no VIEWER_SIGNING_KEY: give --signing-key")
        signing_key = Path(running["VIEWER_SIGNING_KEY"])
    audience = audience or running["VIEWER_TOKEN_AUDIENCE"]
    try:
        key = json.loads(signing_key.read_bytes())
        token = mint(key, learner, audience=audience, issuer=issuer, now=datetime.now(UTC), valid=valid)
    except OSError as error:
        raise click.ClickException(f"{signing_key}: {error.strerror}") from None
    except UNREADABLE_KEY:
        raise click.ClickException(f"{signing_key}: not a private key made by `tokens keygen`") from None
    click.echo(token)
