"""Conflicts."""

from flask import render_template
from flask.typing import ResponseReturnValue

from api.ops.door import blueprint


@blueprint.get("/conflicts")
def conflicts() -> ResponseReturnValue:
    """List conflicts."""
    return render_template("conflicts.html")
