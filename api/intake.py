"""Take a delivery in: into Postgres, else into the spool."""

from threading import BoundedSemaphore
from uuid import UUID

import structlog
from redis import Redis

from api.breaker import Breaker
from api.recorder import Recorder
from shared.errors import StoreUnavailableError
from shared.spool import answers, push
from shared.uploads import Delivery, Receipt, Verdict

log = structlog.get_logger()

# No upload has it: to look for it asks the database and learns nothing.
NIL = UUID(int=0)
# At once. Each has a connection, which takes longer to open than many uploads to push: a burst that opened
# one for each would run into the spool's timeout.
PUSHES = 4


class Intake:
    """Keep a delivery wherever it can be kept; without a spool, Postgres alone."""

    def __init__(self, recorder: Recorder, spool: Redis | None, *, pause: float) -> None:
        self._recorder = recorder
        self._redis = spool
        self._breaker = Breaker(pause, "spool")
        self._places = BoundedSemaphore(PUSHES)

    def accept(self, delivery: Delivery) -> Receipt:
        """Return once the delivery is kept; raise StoreUnavailableError if no store takes it in time."""
        try:
            return self._recorder.record(delivery)
        except StoreUnavailableError:
            self._spool(delivery)
            return Receipt(Verdict.PENDING)

    def check(self) -> None:
        """Raise StoreUnavailableError if no store would take a delivery."""
        try:
            self._recorder.find(NIL)
        except StoreUnavailableError:
            if self._redis is None or not answers(self._redis):
                raise

    def _spool(self, delivery: Delivery) -> None:
        with self._places:
            self._push(delivery)
        log.info("upload.spooled", upload=str(delivery.client_session_uuid))

    def _push(self, delivery: Delivery) -> None:
        if self._redis is None or not self._breaker.lets_through():
            raise StoreUnavailableError("No store takes the upload.")
        try:
            push(self._redis, delivery)
        except StoreUnavailableError:
            self._breaker.trip()
            raise
        self._breaker.close()
