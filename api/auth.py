"""Bearer tokens: shared ones, which are compared in constant time, and the tokens of single learners."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from hmac import compare_digest
from pathlib import Path

import structlog
from flask import request
from limits import parse

from api.errors import Kind, Problem
from shared.config import Settings
from shared.tokens import InvalidTokenError, LearnerTokens

log = structlog.get_logger()


def require_token(tokens: tuple[str, ...], closed: Kind = Kind.UNAUTHENTICATED) -> None:
    """Refuse a request without one of `tokens`; if `tokens` is empty, refuse every request with `closed`."""
    if not tokens:
        raise Problem(closed)
    if not _is_one_of(tokens, _bearer_token(request.headers.get("Authorization", ""))):
        raise Problem(Kind.UNAUTHENTICATED)


class Senders:
    """Decide who may send uploads: trusted senders by a shared token; learners by their own tokens.

    VIEWER_RATE limits the requests of each learner. Raises ConfigurationError if the file of token keys is
    wrong.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self._learner_tokens = settings.viewer_token_keys and LearnerTokens(
            Path(settings.viewer_token_keys),
            audience=settings.viewer_token_audience,
            issuer=settings.viewer_token_issuer,
        )
        rate = parse(settings.viewer_rate)
        self._limit, self._span = rate.amount, rate.get_expiry()
        # Requests of each learner in the current span. The memory storage of `limits` is not used: it would
        # scan all learners a hundred times a second (docs/performance.md, "Learners' tokens").
        self._span_number, self._requests = 0, Counter[int]()

    def may_send_body(self, authorization: str) -> bool:
        """Return whether an `Authorization` header has a valid token of any route that takes a body.

        The server calls this before it reads the body; later, the route itself checks whether it
        accepts the token.
        """
        token = _bearer_token(authorization)
        settings = self._settings
        if _is_one_of((*settings.viewer_tokens, *settings.study_tokens, *settings.catalog_tokens), token):
            return True
        try:
            return bool(self._learner_tokens and self._learner_tokens.verify(token, self._clock()))
        except InvalidTokenError:
            return False

    def identify(self) -> int | None:
        """Return the learner whom the request's token names, None for a trusted sender.

        Refuses a request without a valid token, and a learner whose requests exceed VIEWER_RATE.
        """
        token = _bearer_token(request.headers.get("Authorization", ""))
        if _is_one_of(self._settings.viewer_tokens, token):
            return None
        if not token or not self._learner_tokens:
            raise Problem(Kind.UNAUTHENTICATED)
        try:
            learner = self._learner_tokens.verify(token, self._clock())
        except InvalidTokenError as error:
            log.info("token.refused", why=str(error))
            # RFC 6750, section 3.1: the client should get a new token.
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Problem(Kind.UNAUTHENTICATED, headers) from None
        number, elapsed = divmod(int(time.monotonic()), self._span)
        if number != self._span_number:
            self._span_number, self._requests = number, Counter()
        self._requests[learner] += 1
        if self._requests[learner] > self._limit:
            raise Problem(Kind.TOO_MANY_REQUESTS, {"Retry-After": str(self._span - elapsed)})
        return learner


def _bearer_token(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip(" ") if scheme.lower() == "bearer" else ""


def _is_one_of(tokens: tuple[str, ...], sent: str) -> bool:
    # WSGI decodes headers as Latin-1, whatever their bytes are.
    encoded = sent.encode("latin-1", "replace")
    # Compare all tokens: the time that this takes must not show which one matches.
    matches = [compare_digest(token.encode(), encoded) for token in tokens]
    return any(matches)
