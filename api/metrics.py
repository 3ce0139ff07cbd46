"""Count requests, and show Prometheus the metrics of this host."""

from time import perf_counter

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue

from api.auth import require_token
from api.services import edge
from shared.config import Settings
from shared.metrics import CONTENT_TYPE, REQUEST_SECONDS, REQUESTS, Page

_KEY = "study_ingest.metrics"
blueprint = Blueprint("metrics", __name__)


def install_metrics(app: Flask, settings: Settings) -> None:
    """Count requests where METRICS_DIR is set; without METRICS_TOKEN too there is no such page."""
    if not settings.metrics_dir:
        return
    app.before_request(_begin)
    app.after_request(_count)
    if settings.metrics_tokens:
        app.extensions[_KEY] = Page(settings)
        app.register_blueprint(blueprint)


def _begin() -> None:
    g.began = perf_counter()


def _count(response: Response) -> Response:
    # The path and the method of a request without a route are a stranger's: labels without end.
    route, method = (request.url_rule.rule, request.method) if request.url_rule else ("none", "any")
    REQUESTS.labels(route, method, str(response.status_code)).inc()
    REQUEST_SECONDS.labels(route, method).observe(perf_counter() - g.began)
    return response


@blueprint.get("/metrics")
def show() -> ResponseReturnValue:
    """Show the metrics to whoever has the token."""
    require_token(edge().settings.metrics_tokens)
    page: Page = current_app.extensions[_KEY]
    return Response(page.compose(), content_type=CONTENT_TYPE)
