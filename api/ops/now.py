"""The page that says how things stand now."""

from flask import render_template
from flask.typing import ResponseReturnValue

from api.ops.door import blueprint


@blueprint.get("")
@blueprint.get("/")
def now() -> ResponseReturnValue:
    """Show how things stand."""
    return render_template("now.html")
