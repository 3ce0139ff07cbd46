"""Bearer tokens, compared in constant time."""

from hmac import compare_digest

from flask import request

from api.errors import Kind, Problem
from shared.config import Settings


def require_token(tokens: tuple[str, ...]) -> None:
    """Refuse a request that carries none of the tokens."""
    if not carries(tokens, request.headers.get("Authorization", "")):
        raise Problem(Kind.UNAUTHENTICATED)


def may_send_body(settings: Settings, authorization: str) -> bool:
    """Return whether a sender has a token of any kind; the server asks before it reads the body."""
    return carries((*settings.viewer_tokens, *settings.study_tokens), authorization)


def carries(tokens: tuple[str, ...], authorization: str) -> bool:
    """Return whether the header holds one of the tokens."""
    scheme, _, credentials = authorization.partition(" ")
    # WSGI decodes headers as Latin-1, whatever their bytes are.
    sent = credentials.strip(" ").encode("latin-1", "replace")
    # A list, so that every token is compared: the time must not depend on which one matches.
    matches = [compare_digest(token.encode(), sent) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)
