"""Bearer tokens, compared in constant time."""

from hmac import compare_digest

from flask import request

from api.errors import Kind, Problem


def require_token(tokens: tuple[str, ...]) -> None:
    """Refuse a request that carries none of the tokens."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    # WSGI decodes headers as Latin-1, whatever their bytes are.
    sent = credentials.strip(" ").encode("latin-1", "replace")
    # A list, so that every token is compared: the time must not depend on which one matches.
    matches = [compare_digest(token.encode(), sent) for token in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise Problem(Kind.UNAUTHENTICATED)
