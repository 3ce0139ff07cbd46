"""`migrate`, `learners`, `progress`, `verify`, `stats` and `metrics`."""

import json
import os
from datetime import timedelta
from pathlib import Path

import click
from kombu.exceptions import OperationalError
from prometheus_client import start_http_server
from redis.exceptions import RedisError

import migrations
from cli import context
from cli.local.places import data_dir_option
from cli.local.up import LOOPBACK
from cli.options import BIGINT
from shared import broker, changes, data_settings, db, health, spool
from shared.config import Settings, StoreSettings, load_settings
from shared.errors import ConfigurationError
from shared.learners import delete_learner, export_learner
from shared.metrics import registry
from shared.ops.reports import Counts, count_since, count_webhooks
from shared.study import finalize
from shared.study.store import is_learner, list_progress


@click.command()
@click.option(
    "--time-zone",
    metavar="ZONE",
    help="Also change the STUDY_TIME_ZONE that the database keeps, for later answers.",
)
@data_dir_option
def migrate(data_dir: Path, *, time_zone: str | None) -> None:
    """Bring the database to the newest revision; safe to run again, and from several hosts at once.

    Also run it after a restore.
    """
    if time_zone is not None:
        os.environ["STUDY_TIME_ZONE"] = time_zone
    context.complete_environment(data_dir)
    settings = load_settings(StoreSettings)
    url = settings.migrate_database_url or settings.database_url
    pending = migrations.pending(url)
    migrations.upgrade(url)
    engine = db.make_engine(settings)
    with context.readable_errors(), engine.begin() as connection:
        if time_zone is not None:
            data_settings.record_zone(connection, settings.study_time_zone, replace=True)
        data_settings.adopt(connection, settings)
        changes.renumber(connection)
    engine.dispose()
    before = f"; revisions that were pending: {', '.join(pending)}" if pending else ""
    click.echo(f"the database is at the newest revision{before}")


@click.group()
def learners() -> None:
    """Export or delete all data of a learner."""


@learners.command()
@click.argument("user_id", type=BIGINT, metavar="ID")
@context.with_store
def export(user_id: int, *, store: context.Store) -> None:
    """Print all data of learner ID in Postgres: one JSON line for each row, with its table."""
    with store.engine.connect() as connection:
        for line in export_learner(connection, user_id):
            click.echo(line)


@learners.command()
@click.argument("user_id", type=BIGINT, metavar="ID")
@click.confirmation_option(prompt="Delete this learner, with all answers and progress, permanently?")
@context.with_store
def delete(user_id: int, *, store: context.Store) -> None:
    """Delete all data of learner ID, even if the learner's row was deleted before.

    The rows of uploads stay, without payloads, and so do the learner's rows in a document server's tables. If
    the learner's row was deleted before, uploads that were never replayed may not be found. Questions that
    other learners have answered, or are being asked, are retired and handed back to them. REDIS_URL must be
    set if there is a spool.
    """
    url = os.environ.get("REDIS_URL")
    with store.engine.begin() as connection:
        receipt = delete_learner(connection, user_id, spool.connect(url) if url else None)
    click.echo(
        f"deleted of learner {user_id}: {receipt.sessions} sessions, {receipt.attempts} attempts, progress at"
        f" {receipt.progress} questions; blanked: {receipt.uploads} uploads, {receipt.conflicts} conflicts;"
        f" removed from the spool: {receipt.spooled}"
    )


@click.command()
@click.option("--user", "user_id", type=BIGINT, required=True, metavar="ID", help="The learner.")
@context.with_store
def progress(user_id: int, *, store: context.Store) -> None:
    """Print a learner's progress: one JSON line for each question, sorted by `pub_id`."""
    with store.engine.connect() as connection:
        if not is_learner(connection, user_id):
            raise click.ClickException(f"learner {user_id} is unknown")
        for line in list_progress(connection, user_id):
            click.echo(json.dumps(line))


@click.command()
@click.option("--repair", is_flag=True, help="Fold the differing questions again, under the learner's lock.")
@context.with_store
def verify(*, repair: bool, store: context.Store) -> None:
    """Fold all attempts again, and compare with the stored progress.

    Exit 1 if any progress differs and was not repaired.
    """
    learners = differing = 0
    for checked in finalize.verify(store.engine, repair=repair):
        learners += 1
        differing += len(checked.differing)
        if checked.differing:
            click.echo(f"learner {checked.user_id}: {len(checked.differing)} questions differ", err=True)
    click.echo(f"{learners} learners, {differing} differences{', repaired' if repair and differing else ''}")
    if differing and not repair:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@context.with_store
def stats(*, as_json: bool, store: context.Store) -> None:
    """Count what waits and what failed, and the uploads of the last hour and day."""
    with store.engine.connect() as connection:
        now = db.now(connection)
        state = health.read_state(connection)._asdict()
        spans = {
            "last_hour": count_since(connection, now - timedelta(hours=1))._asdict(),
            "last_day": count_since(connection, now - timedelta(days=1))._asdict(),
        }
        webhooks = count_webhooks(connection)
    state |= count_backlog()
    if as_json:
        context.print_json({"now": state, **spans, "webhooks": webhooks})
        return
    context.print_table(("now", ""), list(state.items()))
    context.print_table(
        ("uploads", *Counts._fields), [(span, *counts.values()) for span, counts in spans.items()]
    )
    context.print_table(("webhooks", ""), list(webhooks.items()))


def count_backlog() -> dict[str, int | None]:
    """Count the messages in the broker and the uploads in the spool.

    A count is None if its store is not set, does not answer, or refuses; without BROKER_URL, both are None.
    stderr names the store and the error, or says that BROKER_URL is not set.
    """
    backlog: dict[str, int | None] = {"messages": None, "spooled": None}
    if not os.environ.get("BROKER_URL"):
        click.echo("messages and spool are not counted: BROKER_URL is not set", err=True)
        return backlog
    settings = load_settings(Settings)
    app = broker.make_celery(settings)
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1)
        backlog["messages"] = broker.queue_length(app)
    except (OperationalError, RedisError) as error:
        click.echo(
            f"messages are not counted: the broker does not answer, or refuses ({type(error).__name__})",
            err=True,
        )
    try:
        if settings.redis_url:
            with spool.connect(settings.redis_url) as redis:
                backlog["spooled"] = spool.spooled(redis)
    except RedisError as error:
        click.echo(
            f"the spool is not counted: Redis does not answer, or refuses ({type(error).__name__})", err=True
        )
    return backlog


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True)
@click.pass_obj
def metrics(directory: str, port: int) -> None:
    """Serve the metrics of this host's processes to Prometheus, on the loopback address only."""
    settings = load_settings(Settings).model_copy(update={"prometheus_multiproc_dir": directory})
    if not directory:
        raise ConfigurationError(
            "PROMETHEUS_MULTIPROC_DIR is not set: set it to the directory that this host's processes use"
        )
    try:
        _, serving = start_http_server(port, LOOPBACK, registry(settings))
    except OSError as error:
        raise ConfigurationError(f"--port: cannot listen on this port ({error}): choose another") from None
    click.echo(f"http://{LOOPBACK}:{port}/metrics")
    serving.join()
