"""The live side: quiz sessions that a learner answers in the document server's own front end."""

from api.live.door import blueprint
from api.live.lists import blueprint as lists
from api.live.sessions import blueprint as sessions

blueprint.register_blueprint(sessions)
blueprint.register_blueprint(lists)

__all__ = ["blueprint"]
