"""The way in to the operators' page: who may come in, and what every answer forbids the browser."""

from dataclasses import dataclass

from flask import Blueprint, Flask, Response, abort, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from redis import Redis

from api.ops.desk import Desk
from api.ops.guesses import Guesses
from api.ops.session import install_session
from shared.config import Settings
from shared.spool import connect

PATH = "/ops"
_KEY = "study_ingest_ops"
# Without a session: the way to one, and what its page is drawn with.
OPEN = {"ops.ask_password", "ops.log_in", "ops.static"}
# Who browsers may say sent a form: a page of ours, or the operator himself.
OWN = {"same-origin", "none"}
# Nothing from elsewhere and nothing inline, not even by mistake; Pico draws its icons with data: images.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

blueprint = Blueprint("ops", __name__, url_prefix=PATH, template_folder="templates", static_folder="static")
_csrf = CSRFProtect()


@dataclass(frozen=True, slots=True)
class Ops:
    """Give the page its way to the database, the count of guesses at its password, and the spool."""

    desk: Desk
    guesses: Guesses
    spool: Redis | None


def install_ops(app: Flask, settings: Settings) -> None:
    """Make what the page needs, if there is a password; without one it answers 404."""
    if password := settings.ops_password.get_secret_value():
        install_session(app, password, PATH)
        _csrf.init_app(app)
        spool = connect(settings.redis_url) if settings.redis_url else None
        app.extensions[_KEY] = Ops(Desk(settings), Guesses(), spool)


def ops() -> Ops:
    """Return what the application of the current request holds for the page."""
    found: Ops = current_app.extensions[_KEY]
    return found


@blueprint.before_request
def admit() -> ResponseReturnValue | None:
    """Refuse everybody while there is no password, then whoever has not given it, then forged forms."""
    if _KEY not in current_app.extensions:
        abort(404, "This page is off: OPS_PASSWORD is not set.")
    if request.method != "GET" and request.headers.get("Sec-Fetch-Site", "none") not in {
        "same-origin",
        "none",
    }:
        abort(403, "This form was sent by another site.")
    if request.endpoint in OPEN:
        return None
    if "operator" not in session:
        return _to_login()
    _csrf.protect()
    return None


def _to_login() -> ResponseReturnValue:
    if "HX-Request" in request.headers:  # a page that was left open: it goes there as a whole
        return Response(status=401, headers={"HX-Refresh": "true"})
    wanted = request.full_path.rstrip("?") if request.method == "GET" else PATH
    return redirect(url_for("ops.ask_password", next=wanted), 303)


@blueprint.after_request
def harden(response: Response) -> Response:
    """Keep browsers from running, framing or keeping what is not for that."""
    response.headers.update(HEADERS)
    if request.endpoint != "ops.static":
        response.headers["Cache-Control"] = "no-store"
    return response
