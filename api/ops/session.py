"""The operator's session: a signed cookie that ends with the password it was opened by."""

import hashlib
from datetime import timedelta

from flask import Flask, Request, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

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
