"""CORS: scripts on the origins in VIEWER_ORIGINS may send uploads and read their status, nothing else."""

from http import HTTPStatus

from flask import Flask, Response, request

PREFIX = "/ingest/"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "authorization, content-type",
    # Seconds for which a browser caches the answer; Chromium allows no more.
    "Access-Control-Max-Age": "7200",
}


def install_origins(app: Flask, origins: frozenset[str]) -> None:
    """Allow scripts of the given origins to use the routes under PREFIX, without the browser's cookies."""
    if not origins:
        return

    @app.before_request
    def answer_preflight() -> Response | None:
        # This comes before the check of the token, as a preflight has no token.
        if _is_concerned() and request.method == "OPTIONS" and request.origin in origins:
            return Response(status=HTTPStatus.NO_CONTENT, headers=PREFLIGHT)
        return None

    @app.after_request
    def allow_origin(response: Response) -> Response:
        # Errors get this header, too: without it, a script cannot read the status.
        if _is_concerned():
            response.vary.add("Origin")
            if request.origin in origins:
                response.access_control_allow_origin = request.origin
                response.headers["Access-Control-Expose-Headers"] = "Retry-After, Location"
        return response


def _is_concerned() -> bool:
    return request.path.startswith(PREFIX)
