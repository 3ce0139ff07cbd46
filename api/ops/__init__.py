"""`/ops`: the operators' page."""

from api.ops import conflicts, errors, learner, login, moments, now, replays, uploads, voiding
from api.ops.door import blueprint, install_ops

# Each adds its routes to the blueprint.
PARTS = (now, uploads, replays, voiding, conflicts, learner, login, moments, errors)

__all__ = ["PARTS", "blueprint", "install_ops"]
