"""The way in to the operators' page: who may come in, and what every answer forbids the browser."""

import hashlib
import math
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from http import HTTPStatus

import structlog
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    abort,
    current_app,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from markupsafe import Markup
from redis import Redis
from werkzeug.exceptions import HTTPException

from api.errors import RETRY_AFTER_S
from api.ops.store import Desk
from api.services import edge
from shared.config import Settings
from shared.errors import (
    StoreUnavailableError,
    StudyIngestError,
    UnknownConflictError,
    UnknownLearnerError,
    UnknownSessionError,
    UnknownUploadError,
)
from shared.failures import describe
from shared.spool import connect

# A person mistypes twice; a guesser gets 1,440 a day.
LIMIT = RateLimitItemPerMinute(5, multiples=5)


class Guesses:
    """Let an address try five passwords in five minutes; each web process counts its own."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, address: str) -> bool:
        """Count a guess before it is looked at, so that many at once are no more than five."""
        return self._limiter.hit(LIMIT, address)

    def forgive(self, address: str) -> None:
        """Forget the wrong guesses before a right one."""
        self._limiter.clear(LIMIT, address)

    def wait(self, address: str) -> int:
        """Return the seconds until the next guess is let in."""
        reset = self._limiter.get_window_stats(LIMIT, address).reset_time
        return max(1, math.ceil(reset - time.time()))


# One shift.
LIFETIME = timedelta(hours=12)
# As hashlib's own documentation advises for logins; 16 MiB and some 50 ms, once a start.
SCRYPT_COST = {"n": 2**14, "r": 8, "p": 1}
# Fixed, so that all web processes agree; a key of its own for this one use.
SALT = b"study-ingest /ops session"


class OperatorSession(SecureCookieSessionInterface):
    """Keep a session under the page alone: no other request pays for one."""

    digest_method = staticmethod(hashlib.sha256)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the cookie, if the page is asked for."""
        own = request.path.startswith(app.config["SESSION_COOKIE_PATH"])
        return super().open_session(app, request) if own else None

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # the base's signature
        """Tell whether the browser logged in by https."""
        return bool(session.get("https"))


def open_session() -> None:
    """Begin a session for who has given the password."""
    session.clear()
    session.permanent = True
    # What the browser sees: a proxy in front may speak plain HTTP with us.
    session["https"] = request.headers.get("Origin", request.url).startswith("https:")
    session["operator"] = True


def install_session(app: Flask, password: str, path: str) -> None:
    """Give an application sessions under a path, signed by a key made of the password.

    A new password is a new key: it logs everybody out. The key is dear to make, as a cookie is all that
    somebody needs who guesses at home.
    """
    app.secret_key = hashlib.scrypt(password.encode(), salt=SALT, dklen=32, **SCRYPT_COST)
    app.session_interface = OperatorSession()
    app.config.update(
        SESSION_COOKIE_NAME="study_ingest_ops",
        SESSION_COOKIE_PATH=path,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        # The page's own door asks for the token, as no other route has a cookie; it lasts as long as that.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
    )


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


log = structlog.get_logger()

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@blueprint.route("/<path:elsewhere>", methods=METHODS)
def unknown(elsewhere: str) -> Response:  # noqa: ARG001  # the router passes it
    """Refuse every other address, or the application would, as it refuses programs."""
    abort(404, "There is no such page.")


@blueprint.errorhandler(Exception)
def show(error: Exception) -> Response:
    """Say what is wrong, in words of ours."""
    status, detail, headers = _told(error)
    log.info("ops.refused", endpoint=request.endpoint, status=status)
    page = render_template("error.html", title=HTTPStatus(status).phrase, detail=detail)
    return Response(page, status, headers=headers)


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    match error:
        case HTTPException(code=int(status)):
            return status, error.description or "", {}
        case StoreUnavailableError():
            return 503, f"{error} Nothing is lost; try again.", {"Retry-After": str(RETRY_AFTER_S)}
        case UnknownLearnerError() | UnknownUploadError() | UnknownSessionError() | UnknownConflictError():
            return 404, f"{error}.", {}
        case StudyIngestError():
            return 409, f"{error}.", {}
    log.error("request.failed", error=describe(error))
    return 500, "This should not have happened; the log tells where it did.", {}


# Beginning so, it is a path of this site, whatever follows; no header holds a line break.
LOCAL = re.compile(rf"{PATH}/[!-~]*")


@blueprint.get("/login")
def ask_password() -> ResponseReturnValue:
    """Show the form."""
    return render_template("login.html")


@blueprint.post("/login")
def log_in() -> ResponseReturnValue:
    """Let in who knows the password, and count who does not.

    Without a token: who forges this form would have to know the password. A token would need a cookie signed
    with a key made of it, on which everybody could try passwords at home, uncounted.
    """
    address = request.remote_addr or ""
    if not ops().guesses.take(address):
        log.warning("ops.login_refused")
        return _too_many(ops().guesses.wait(address))
    if not _is_right(request.form.get("password", "")):
        log.warning("ops.login_failed")
        return render_template("login.html", wrong="That is not the password."), 403
    ops().guesses.forgive(address)
    open_session()
    log.info("ops.logged_in")
    return redirect(_wanted(), 303)


def _is_right(given: str) -> bool:
    password = edge().settings.ops_password.get_secret_value()
    return compare_digest(password.encode(), given.encode("utf-8", "replace"))


def _wanted() -> str:
    wanted = request.args.get("next", PATH)
    return wanted if LOCAL.fullmatch(wanted) else PATH


def _too_many(wait: int) -> Response:
    page = render_template("error.html", title="Too many wrong passwords", detail=f"Try again in {wait} s.")
    return Response(page, 429, headers={"Retry-After": str(wait)})


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    """Forget the session."""
    session.clear()
    return redirect(url_for(".ask_password"), 303)


NONE = "-"


@blueprint.app_template_filter()
def second(at: datetime | None) -> str:
    """Show a moment to the second."""
    return _shown(at, "%Y-%m-%d %H:%M:%S")


@blueprint.app_template_filter()
def minute(at: datetime | None) -> str:
    """Show a moment to the minute."""
    return _shown(at, "%Y-%m-%d %H:%M")


def _shown(at: datetime | None, form: str) -> str:
    if at is None:
        return NONE
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime(form))


@blueprint.app_template_filter()
def age(span: timedelta | None) -> str:
    """Show how long something has lasted, in its two largest units."""
    if span is None:
        return NONE
    left, parts = max(0, int(span.total_seconds())), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
