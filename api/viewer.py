"""`/viewer/`: the sample quiz page of client/viewer, with the outbox of client/js; for `up` and `demo`."""

import hashlib
from pathlib import Path

from flask import Blueprint, Response, send_from_directory

PATH = "/viewer"
CLIENT = Path(__file__).resolve().parent.parent / "client"
PAGE, OUTBOX = CLIENT / "viewer", CLIENT / "js"
HEADERS = {
    # The page loads nothing from another site and nothing inline, and cannot be shown in a frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # the service worker is the cache
}

routes = Blueprint("viewer", __name__, url_prefix=PATH)


@routes.after_request
def protect(response: Response) -> Response:
    """Add the page's headers to each file."""
    response.headers.update(HEADERS)
    return response


@routes.get("/")
def page() -> Response:
    """Serve the quiz page."""
    return send_from_directory(PAGE, "index.html")


@routes.get("/offline.js")
def offline() -> Response:
    """Serve the service worker that caches the page; its version is a digest of all files."""
    files = sorted(each for each in [*PAGE.iterdir(), *OUTBOX.glob("*.js")] if each.is_file())
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()
    script = (PAGE / "offline.js").read_text("utf-8").replace("{version}", digest[:16])
    return Response(script, content_type="text/javascript; charset=utf-8")


@routes.get("/study-outbox/<name>.js")
def outbox(name: str) -> Response:
    """Serve a module of `client/js`, the viewer's outbox."""
    return send_from_directory(OUTBOX, f"{name}.js")


@routes.get("/<name>")
def file(name: str) -> Response:
    """Serve a file of the quiz page."""
    return send_from_directory(PAGE, name)
