"""`/ops`: the operators' pages, a separate Flask application.

It is mounted next to the application of uploads, so none of this code runs for an upload.
"""

from collections.abc import Callable
from datetime import datetime

from flask import Flask
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from markupsafe import Markup

from api.live import IdConverter
from api.metrics import count_requests
from api.ops import learner, session, views
from api.ops.store import OperatorStore
from api.proxies import make_location_relative
from api.schemas import MAX_BODY
from shared.config import Settings
from shared.spool import PROCESS_TIMEOUT_S, connect

NONE = "-"
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def create_ops_app(settings: Settings, clock: Callable[[], datetime]) -> Flask:
    """Make the application that is mounted at `/ops`; the caller has checked that OPS_PASSWORD is set."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.after_request(make_location_relative)
    app.url_map.converters["id"] = IdConverter
    for name, filter_ in (("second", second), ("minute", minute), ("age", age)):
        app.add_template_filter(filter_, name)
    count_requests(app, settings, prefix=session.PATH)
    spool = connect(settings.redis_url, PROCESS_TIMEOUT_S) if settings.redis_url else None
    limiter = MovingWindowRateLimiter(MemoryStorage())
    session.install_session(
        app, session.OpsServices(settings, clock, OperatorStore(settings), spool, limiter)
    )
    app.register_blueprint(views.blueprint)
    app.register_blueprint(learner.blueprint)
    return app


def second(at: datetime | None) -> str:
    """Write a time with seconds as HTML, and None as `-`."""
    return _time(at, "%Y-%m-%d %H:%M:%S")


def minute(at: datetime | None) -> str:
    """Write a time without seconds as HTML, and None as `-`."""
    return _time(at, "%Y-%m-%d %H:%M")


def _time(at: datetime | None, form: str) -> str:
    if at is None:
        return NONE
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime(form))


def age(lasted: float | None) -> str:
    """Write a number of seconds in at most two units, such as `2 h 5 min`, and None as `-`."""
    if lasted is None:
        return NONE
    rest, parts = max(0, int(lasted)), []
    for unit, seconds in UNITS:
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
