"""`/ops`: the operators' page."""

from api.ops import learner, session, views
from api.ops.session import blueprint, install_ops

# Each adds its routes to the blueprint.
PARTS = (views, views, views, views, views, learner, session, session, session)

__all__ = ["PARTS", "blueprint", "install_ops"]
