"""`/ops`: the operators' page."""

from api.ops import conflicts, errors, learner, login, moments, now, uploads
from api.ops.door import blueprint, install_ops

# Each adds its routes to the blueprint.
PARTS = (now, uploads, conflicts, learner, login, moments, errors)

__all__ = ["PARTS", "blueprint", "install_ops"]
