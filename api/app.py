"""Create the web application from its parts."""

from collections.abc import Callable
from datetime import datetime

from flask_openapi3 import OpenAPI
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from api import catalog, changes, live, openapi, viewer
from api.errors import install_problems
from api.ingest import health_routes, upload_routes
from api.metrics import install_metrics
from api.ops import create_ops_app
from api.ops.session import PATH
from api.origins import install_origins
from api.proxies import ProxyHeaders, make_location_relative
from api.services import SYSTEM_CLOCK, install_services
from shared.config import Settings
from shared.errors import ConfigurationError


def create_app(settings: Settings, clock: Callable[[], datetime] | None = None) -> OpenAPI:
    """Make the application that the settings describe.

    Raises ConfigurationError if uploads are enabled, but neither VIEWER_SYNC_TOKEN nor VIEWER_TOKEN_KEYS is
    set, or if the file of token keys is wrong. `clock` replaces Postgres' clock for the live side and the
    catalog, and this host's clock for learners' tokens and for logins to `/ops`.
    """
    if settings.study_ingest_enabled and not (settings.viewer_tokens or settings.viewer_token_keys):
        raise ConfigurationError(
            "VIEWER_SYNC_TOKEN or VIEWER_TOKEN_KEYS: must be set while STUDY_INGEST_ENABLED is set"
        )
    app = openapi.make_documented_app(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # members in the order of their model
    app.after_request(make_location_relative)
    app.url_map.converters["id"] = live.IdConverter
    install_services(app, settings, clock)
    install_metrics(app, settings)
    install_problems(app)
    install_origins(app, settings.origins)
    for routes in (
        upload_routes,
        live.blueprint,
        catalog.blueprint,
        changes.blueprint,
        health_routes,
        openapi.problem_routes,
    ):
        app.register_api(routes)
    app.register_blueprint(openapi.docs_routes)
    if settings.viewer_page:
        app.register_blueprint(viewer.routes)
    if settings.ops_password.get_secret_value():
        operators = create_ops_app(settings, clock or SYSTEM_CLOCK)
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {PATH: operators})  # type: ignore[method-assign]
    app.wsgi_app = ProxyHeaders(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app
