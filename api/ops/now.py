"""How things stand now: what waits, what fails, and how it went of late."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection

from api.edge import edge
from api.ops.door import blueprint, ops
from shared.broker import SWEEP
from shared.errors import StoreUnavailableError
from shared.health import Standing, age, standing
from shared.ops.reports import Activity, activity
from shared.spool import spooled

MINUTE = timedelta(minutes=1)
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
# As many points as a phone can show apart.
DAY_STEP = 30 * MINUTE
# Shorter, a rate would jump about; longer, it would hide a worker that has just died.
RATE_OVER = 5
# The first try is due at once: whatever waits longer has failed, or nobody works.
OVERDUE = MINUTE
# As the alert has it: several sweeps in a row were left out.
SILENT_S = 60
SILENT_SWEEPS = 3


@dataclass(frozen=True, slots=True)
class Now:
    """What the page shows; `hour` and `day` are counts over time, the oldest first.

    `swept`: seconds since the last sweep, None: there was none; `sweep_every`: seconds between two.
    """

    standing: Standing
    swept: float | None
    sweep_every: float
    hour: Sequence[Activity]
    day: Sequence[Activity]

    @property
    def is_swept(self) -> bool:
        """Tell whether somebody rings again for what waits, and empties the spool."""
        return self.swept is not None and self.swept <= max(SILENT_S, SILENT_SWEEPS * self.sweep_every)

    @property
    def ingest_rate(self) -> float:
        """Return the uploads ingested a minute, of late."""
        return sum(each.ingested for each in self.hour[-RATE_OVER:]) / RATE_OVER

    @property
    def failure_rate(self) -> float | None:
        """Return the part of the last hour's endings that are failures; None: nothing ended."""
        failed = sum(each.rejected + each.dead for each in self.hour)
        ended = failed + sum(each.ingested for each in self.hour)
        return failed / ended if ended else None


@blueprint.get("")
@blueprint.get("/")
def now() -> ResponseReturnValue:
    """Show how things stand; to the page itself, only the part that changes."""
    at = edge().clock()
    found, trouble = None, ""
    try:
        found = ops().desk.read(partial(_look, at, edge().settings.sweep_every))
    except StoreUnavailableError as error:
        trouble = str(error)
    template = "figures.html" if "HX-Request" in request.headers else "now.html"
    spool = _spool(ops().spool)
    return Response(
        render_template(template, now=found, trouble=trouble, at=at, spool=spool, overdue=OVERDUE)
    )


def _look(at: datetime, sweep_every: float, connection: Connection) -> Now:
    return Now(
        standing(connection),
        age(connection, SWEEP),
        sweep_every,
        activity(connection, now=at, steps=HOUR // MINUTE, step=MINUTE),
        activity(connection, now=at, steps=DAY // DAY_STEP, step=DAY_STEP),
    )


def _spool(redis: Redis | None) -> str:
    if redis is None:
        return "none"
    try:
        return str(spooled(redis))
    except RedisError:
        return "no answer"
