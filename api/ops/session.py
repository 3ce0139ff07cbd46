"""The operators' session: login, protection of forms, and the headers of every page."""

import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from http import HTTPStatus
from typing import TypeVar

import flask
import structlog
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from sqlalchemy import Connection
from werkzeug.exceptions import HTTPException

from api.errors import RETRY_AFTER_S
from api.ops.store import OperatorStore
from shared import errors
from shared.config import Settings
from shared.failures import describe
from shared.uploads import act_as

log = structlog.get_logger()

PATH = "/ops"
# A working day.
LIFETIME = timedelta(hours=12)
# The scrypt paper recommends these values for logins. They cost 16 MiB and about 50 ms, once at the start.
SCRYPT_COST = {"n": 2**14, "r": 8, "p": 1}
# Fixed, so that all web processes derive the same key; the key is used for sessions only.
SALT = b"study-ingest /ops session"
# Enough for a person who mistypes; from one address, a program can try 1,440 passwords a day at each
# web process.
LOGIN_RATE = RateLimitItemPerMinute(5, multiples=5)
# The pages load nothing from another site and nothing inline. Their style sheet, Pico, has icons as `data:`
# images.
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
# Endpoints that need no session: the login and the static files.
WITHOUT_SESSION = {"session.ask_password", "session.log_in", "static"}
# What may follow `/ops` in a path that the login redirects to. A line break would end the header.
PLAIN = re.compile(r"/[!-~]*")

LONGEST_NAME = 50
T = TypeVar("T")

blueprint = flask.Blueprint("session", __name__)
_csrf = CSRFProtect()
_KEY = "study_ingest_ops"


@dataclass(frozen=True, slots=True)
class OpsServices:
    """What the operators' pages need; `spool` is None where REDIS_URL is unset."""

    settings: Settings
    clock: Callable[[], datetime]
    store: OperatorStore
    spool: Redis | None
    login_limiter: MovingWindowRateLimiter


def services() -> OpsServices:
    """Return the services of the current request's application."""
    found: OpsServices = flask.current_app.extensions[_KEY]
    return found


def write(work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction, whose events record the name that the operator typed at login."""
    actor = f"{flask.session.get('name', '')} (page)".lstrip()

    def act(connection: Connection) -> T:
        act_as(connection, actor)
        return work(connection)

    return services().store.write(act)


class _Session(SecureCookieSessionInterface):
    digest_method = staticmethod(hashlib.sha256)

    def get_cookie_path(self, app: flask.Flask) -> str:  # noqa: ARG002  # the base's signature
        """Return the path of the pages, as the browser sees it."""
        return flask.request.root_path

    def get_cookie_secure(self, app: flask.Flask) -> bool:  # noqa: ARG002  # the base's signature
        """Return whether the browser logged in by https."""
        return bool(flask.session.get("https"))


def install_session(app: flask.Flask, ops_services: OpsServices) -> None:
    """Give an application sessions, login and protected forms.

    Cookies are signed by a key that is derived from the password: a new password logs everybody out. The
    derivation is slow on purpose, as somebody who stole a cookie could test guessed passwords offline.
    """
    password = ops_services.settings.ops_password.get_secret_value()
    app.secret_key = hashlib.scrypt(password.encode(), salt=SALT, dklen=32, **SCRYPT_COST)
    app.session_interface = _Session()
    app.config.update(
        SESSION_COOKIE_NAME="study_ingest_ops",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        # `admit` checks first the session and then the CSRF token, which lasts as long as the session.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        # Flask-WTF's check compares the Referer's port with `Host`, which many proxies send without a port.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.extensions[_KEY] = ops_services
    _csrf.init_app(app)
    app.before_request(admit)
    app.after_request(harden)
    app.register_error_handler(Exception, show_error)
    app.register_blueprint(blueprint)


def admit() -> ResponseReturnValue | None:
    """Redirect requests without session to the login; refuse forms of other sites or with no CSRF token.

    The login and the static files need no session and no CSRF token. If an open page asks for a part after
    the session has ended, the browser is told to load the whole page again.
    """
    if flask.request.method != "GET" and flask.request.headers.get("Sec-Fetch-Site", "none") not in {
        "same-origin",
        "none",
    }:
        flask.abort(403, "This form was sent by another site.")
    if flask.request.endpoint in WITHOUT_SESSION:
        return None
    # The cookie's own lifetime is not used: each change of the session would start this lifetime again.
    if flask.session.get("until", 0) <= services().clock().timestamp():
        flask.session.clear()
        if "HX-Request" in flask.request.headers:  # an open page whose session has ended: reload it
            return flask.Response(status=401, headers={"HX-Refresh": "true"})
        page = (
            flask.request.root_path + flask.request.full_path.rstrip("?")
            if flask.request.method == "GET"
            else None
        )
        return flask.redirect(flask.url_for("session.ask_password", next=page), 303)
    _csrf.protect()
    return None


def harden(response: flask.Response) -> flask.Response:
    """Set headers that forbid frames and scripts of other sites; forbid caching, except of static files."""
    response.headers.update(HEADERS)
    if flask.request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def show_error(error: Exception) -> flask.Response:
    """Show an error as a page; the text of an unexpected error is not shown."""
    headers = {}
    match error:
        case HTTPException(code=int(status)):
            detail = error.description or ""
        case errors.StoreUnavailableError():
            status, detail = 503, f"{error} Nothing is lost; try again."
            headers = {"Retry-After": str(RETRY_AFTER_S)}
        case (
            errors.UnknownLearnerError()
            | errors.UnknownUploadError()
            | errors.UnknownSessionError()
            | errors.UnknownConflictError()
        ):
            status, detail = 404, f"{error}."
        case errors.StudyIngestError():
            status, detail = 409, f"{error}."
        case _:
            log.error("request.failed", error=describe(error))
            status, detail = 500, "An unexpected error. The log names the place in the code."
    log.info("ops.error_page_shown", endpoint=flask.request.endpoint, status=status)
    page = flask.render_template("error.html", title=HTTPStatus(status).phrase, detail=detail)
    return flask.Response(page, status, headers=headers)


@blueprint.get("/login")
def ask_password() -> ResponseReturnValue:
    """Show the login form."""
    return flask.render_template("login.html")


@blueprint.post("/login")
def log_in() -> ResponseReturnValue:
    """Start a session if the password is right; limit wrong passwords.

    The form has no CSRF token: to forge the form, an attacker would have to know the password. A CSRF token
    would need a cookie that is signed by a key made from the password. With this cookie anybody could guess
    passwords offline, without a limit.
    """
    address, limiter = flask.request.remote_addr or "", services().login_limiter
    # Counted before the password is compared, so that simultaneous logins are limited, too.
    if not limiter.hit(LOGIN_RATE, address):
        log.warning("ops.login_limited", address=address)
        reset = limiter.get_window_stats(LOGIN_RATE, address).reset_time
        wait = max(1, math.ceil(reset - time.time()))
        page = flask.render_template(
            "error.html", title="Too many wrong passwords", detail=f"Try again in {wait} s."
        )
        return flask.Response(page, 429, headers={"Retry-After": str(wait)})
    password = services().settings.ops_password.get_secret_value()
    typed = flask.request.form.get("password", "")
    if not compare_digest(password.encode(), typed.encode("utf-8", "replace")):
        log.warning("ops.login_failed", address=address)
        return flask.render_template("login.html", wrong="The password is wrong."), 403
    limiter.clear(LOGIN_RATE, address)
    flask.session.clear()
    flask.session.permanent = True
    # Store the scheme that the browser used: between a proxy and this process there may be plain HTTP.
    flask.session["https"] = flask.request.headers.get("Origin", flask.request.url).startswith("https:")
    flask.session["until"] = (services().clock() + LIFETIME).timestamp()
    flask.session["name"] = flask.request.form.get("name", "").replace("\0", "").strip()[:LONGEST_NAME]
    log.info("ops.logged_in", address=address)
    page = flask.request.args.get("next", "")
    own = flask.request.root_path
    is_own = page.startswith(own) and PLAIN.fullmatch(page.removeprefix(own))
    return flask.redirect(page if is_own else flask.url_for("views.now"), 303)


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    """End the session."""
    flask.session.clear()
    return flask.redirect(flask.url_for("session.ask_password"), 303)
