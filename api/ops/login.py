"""Log in and out."""

import re
from hmac import compare_digest

import structlog
from flask import Response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from api.edge import edge
from api.ops.door import PATH, blueprint, ops
from api.ops.session import open_session

log = structlog.get_logger()

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
