"""Count requests, and show Prometheus the metrics of this host's processes and of the stores."""

from time import perf_counter

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.auth import require_token
from api.services import services
from shared.config import Settings
from shared.metrics import REQUEST_SECONDS, REQUESTS, registry

_KEY = "study_ingest.metrics"
blueprint = Blueprint("metrics", __name__)


def install_metrics(app: Flask, settings: Settings) -> None:
    """Count requests if PROMETHEUS_MULTIPROC_DIR is set; serve `/metrics` if METRICS_TOKEN is set, too."""
    count_requests(app, settings)
    if settings.prometheus_multiproc_dir and settings.metrics_tokens:
        app.extensions[_KEY] = registry(settings)
        app.register_blueprint(blueprint)


def count_requests(app: Flask, settings: Settings, prefix: str = "") -> None:
    """Count an application's requests if metrics are enabled; the application is mounted at `prefix`."""
    if not settings.prometheus_multiproc_dir:
        return

    def begin() -> None:
        g.began = perf_counter()

    def count(response: Response) -> Response:
        # Requests without a route share one label: otherwise anybody could create any number of labels.
        rule = request.url_rule
        route, method = (prefix + rule.rule, request.method) if rule else ("none", "any")
        REQUESTS.labels(route, method, str(response.status_code)).inc()
        REQUEST_SECONDS.labels(route, method).observe(perf_counter() - g.began)
        return response

    app.before_request(begin)
    app.after_request(count)


@blueprint.get("/metrics")
def show() -> ResponseReturnValue:
    """Show the metrics to a request with a token of METRICS_TOKEN."""
    require_token(services().settings.metrics_tokens)
    return Response(generate_latest(current_app.extensions[_KEY]), content_type=CONTENT_TYPE_LATEST)
