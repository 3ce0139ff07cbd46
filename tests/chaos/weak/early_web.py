"""The web process, weakened: no row, only a message that holds the upload."""

import sys
from typing import Any

from api.server import main
from api.store import UploadStore
from shared.broker import REPLAY_QUEUE, make_celery
from shared.config import Settings
from shared.uploads import Delivery, Receipt, Verdict

INGEST = "ingest_without_row"

app = make_celery(Settings())


def _publish(_: Any, delivery: Delivery) -> Receipt:
    app.send_task(INGEST, args=[delivery.payload], queue=REPLAY_QUEUE)
    return Receipt(Verdict.PENDING)


UploadStore.record = _publish  # type: ignore[method-assign,assignment]  # to weaken it is the point

if __name__ == "__main__":
    sys.exit(main())
