"""Those who can write to the broker cannot run code by it: workers read JSON alone."""

import random
from pathlib import Path
from typing import Any

from kombu import serialization
from sqlalchemy import Engine

from cli.client import Sender
from shared.broker import REPLAY, make_celery
from tests import factories
from tests.factories import statuses
from tests.processes import Processes, until


class Bomb:
    """Make a directory when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.place,)


def goes_off(bomb: Bomb) -> bool:
    """Read it as a worker would that accepts pickles."""
    kind, encoding, body = serialization.dumps(bomb, serializer="pickle")
    serialization.loads(body, kind, encoding, accept=[kind])
    return bomb.place.exists()


def test_a_pickled_message_is_refused_unread(
    engine: Engine, house: Processes, viewer: Sender, tmp_path: Path
) -> None:
    factories.load_many(engine)
    assert goes_off(Bomb(tmp_path / "control"))
    bomb = Bomb(tmp_path / "bomb")
    make_celery(house.settings).send_task(REPLAY, args=[bomb], serializer="pickle", argsrepr="")
    viewer.send(factories.body(factories.random_upload(random.Random(1), 1)))
    house.start("worker")
    until(lambda: statuses(engine) == ["ingested"], "what came after it is worked off")
    assert "task_message.refused" in house.output("worker")
    assert not bomb.place.exists()
