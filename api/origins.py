"""Other origins: the scripts of viewers in browsers may send uploads, and reach nothing else (CORS)."""

from http import HTTPStatus

from flask import Flask, Response, request

PREFIX = "/ingest/"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "authorization, content-type",
    # Seconds that a browser keeps the answer: Chromium's own limit.
    "Access-Control-Max-Age": "7200",
}


def install_origins(app: Flask, origins: frozenset[str]) -> None:
    """Let the scripts of some origins use what is under PREFIX; credentials of the browser never count."""
    if not origins:
        return

    @app.before_request
    def answer_preflight() -> Response | None:
        # Before a token is asked for: a preflight has none.
        if _is_concerned() and request.method == "OPTIONS" and request.origin in origins:
            return Response(status=HTTPStatus.NO_CONTENT, headers=PREFLIGHT)
        return None

    @app.after_request
    def allow_origin(response: Response) -> Response:
        # On errors, too: a script reads no status without it.
        if _is_concerned():
            response.vary.add("Origin")
            if request.origin in origins:
                response.access_control_allow_origin = request.origin
                response.headers["Access-Control-Expose-Headers"] = "Retry-After, Location"
        return response


def _is_concerned() -> bool:
    return request.path.startswith(PREFIX)
