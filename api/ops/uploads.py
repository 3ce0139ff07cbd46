"""Find uploads."""

from flask import render_template
from flask.typing import ResponseReturnValue

from api.ops.door import blueprint


@blueprint.get("/uploads")
def uploads() -> ResponseReturnValue:
    """List uploads."""
    return render_template("uploads.html")
