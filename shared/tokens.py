"""Learners' tokens: JWTs that the document server signs, and the keys that verify them."""

import json
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey
from joserfc.jws import JWSRegistry

from shared.errors import ConfigurationError, StudyIngestError

log = structlog.get_logger()

# Errors that are raised when JSON is read as a key or as a set of keys, but has another form.
UNREADABLE_KEY = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)

LONGEST = 4096  # bytes of a token
LEEWAY_S = 60
LOOK_EVERY_S = 1.0  # between looks at the file; each look is a system call
CACHED = 10_000  # tokens
# The algorithm follows from the key, never from the token. Each type of key has one algorithm, which may have
# two names.
ALGORITHMS = {"OKP": ("EdDSA", "Ed25519"), "oct": ("HS256",)}
SHORTEST_SECRET = 32  # bytes, as RFC 7518 requires for HS256
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
HIGHEST_LEARNER = 2**63 - 1
_LEARNER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


class InvalidTokenError(StudyIngestError):
    """A token is not accepted; the text says why, for the log, and quotes nothing of the token."""


class _Registry(JWSRegistry):
    def get_alg(self, name: str) -> Any:
        # joserfc warns of the older name, which most libraries still write (RFC 9864).
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_REGISTRY = _Registry(algorithms=["Ed25519", "HS256"])


class _Verified(NamedTuple):
    learner: int
    expires: float  # seconds since 1970


class LearnerTokens:
    """Verify tokens by a file of keys (JWKS, RFC 7517), whose changes take effect within a second.

    If the changed file cannot be used, the previous keys stay, so that a half-written file does not lock out
    every learner. At the start, a file that cannot be used raises ConfigurationError.
    """

    def __init__(self, path: Path, *, audience: str, issuer: str = "") -> None:
        self._path = path
        self._claims: dict[str, Any] = {name: {"essential": True} for name in ("sub", "exp")}
        self._claims["aud"] = {"essential": True, "value": audience}
        if issuer:
            self._claims["iss"] = {"essential": True, "value": issuer}
        self._looked_at = time.monotonic()
        self._version = self._current_version()
        self._keys = load_keys(path)
        # Holds accepted tokens only. To verify a signature costs a thousand times what a look-up costs.
        self._verified: dict[str, _Verified] = {}

    def verify(self, token: str, now: datetime) -> int:
        """Return the learner whom a token names; raise InvalidTokenError if it is not accepted."""
        if time.monotonic() >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            if (version := self._current_version()) != self._version:
                self._version = version
                self._read_again()
        verified = self._verified.get(token) or self._verify(token, now)
        if now.timestamp() >= verified.expires + LEEWAY_S:
            raise InvalidTokenError("the token has expired")
        return verified.learner

    def _current_version(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size

    def _read_again(self) -> None:
        try:
            self._keys = load_keys(self._path)
        except ConfigurationError as error:
            log.warning("token_keys.not_reloaded", error=str(error))
        else:
            self._verified.clear()
            log.info("token_keys.reloaded", keys=len(self._keys))

    def _verify(self, token: str, now: datetime) -> _Verified:
        if len(token) > LONGEST:
            raise InvalidTokenError(f"the token is longer than {LONGEST} bytes")
        claims = jwt.JWTClaimsRegistry(int(now.timestamp()), leeway=LEEWAY_S, **self._claims)
        try:
            read = jwt.decode(token, self._key, registry=_REGISTRY)
            claims.validate(read.claims)
        except JoseError as error:
            raise InvalidTokenError(type(error).__name__) from None
        except (ValueError, TypeError, KeyError) as error:  # raised for parts that are not as in the RFC
            raise InvalidTokenError(f"the token cannot be read: {type(error).__name__}") from None
        if str(read.header.get("typ", "JWT")).lower() not in TYPES:
            raise InvalidTokenError("the token's `typ` is neither JWT nor at+jwt")
        subject = read.claims["sub"]
        if not _LEARNER.fullmatch(subject) or int(subject) > HIGHEST_LEARNER:
            raise InvalidTokenError("the token's `sub` is not a learner's id")
        if len(self._verified) >= CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = verified = _Verified(int(subject), read.claims["exp"])
        return verified

    def _key(self, token: Any) -> Key:
        """Choose the key by its id alone; a key inside the token is never used."""
        key = self._keys.get(token.headers().get("kid"))
        if key is None:
            raise InvalidTokenError("the token has no `kid`, or no key has this `kid`")
        return key


def load_keys(path: Path) -> Mapping[str, Key]:
    """Map the ids of a file's keys to the keys; raise ConfigurationError if one, or the file, is unusable."""
    try:
        described = json.loads(path.read_bytes())["keys"]
        keys = [_import_key(each) for each in described]
    except OSError as error:
        raise ConfigurationError(f"VIEWER_TOKEN_KEYS: {path}: {error.strerror}") from None
    except UNREADABLE_KEY as error:  # only our own texts are shown
        why = error if type(error) is ValueError else type(error).__name__
        raise ConfigurationError(f"VIEWER_TOKEN_KEYS: {path}: not a usable JSON Web Key Set: {why}") from None
    if len(found := {str(key.kid): key for key in keys}) < len(keys):
        raise ConfigurationError(f"VIEWER_TOKEN_KEYS: {path}: two keys have the same `kid`")
    return found


def _import_key(described: Mapping[str, Any]) -> Key:
    algorithms = ALGORITHMS.get(described.get("kty", ""), ())
    if not algorithms or described.get("crv", "Ed25519") != "Ed25519":
        raise ValueError(
            "the `kty` of a key must be OKP with Ed25519 as `crv` (for EdDSA), or oct (for HS256)"
        )
    if described.get("alg", algorithms[0]) not in algorithms or described.get("use", "sig") != "sig":
        names = " or ".join(algorithms)
        kind = described["kty"]
        raise ValueError(
            f"the `alg` of an {kind} key must be {names} or left out, and its `use` must be sig or left out"
        )
    if not isinstance(kid := described.get("kid"), str) or not kid:
        raise ValueError("each key must have a `kid`, a text that is not empty")
    # Without `alg`, as that may be written in two ways, and without the private half of a pair.
    key = JWKRegistry.import_key({k: v for k, v in described.items() if k in {"kty", "crv", "x", "k", "kid"}})
    if isinstance(key, OctKey) and len(key.raw_value) < SHORTEST_SECRET:
        raise ValueError(f"an oct key must have {SHORTEST_SECRET} bytes or more")
    return key


def generate_key(algorithm: str) -> dict[str, Any]:
    """Make a key that can sign, as a JSON Web Key; its `kid` is its thumbprint."""
    kind, size = ("OKP", "Ed25519") if algorithm == "EdDSA" else ("oct", 8 * SHORTEST_SECRET)
    key = JWKRegistry.generate_key(kind, size, auto_kid=True)
    return {**key.as_dict(private=True), "alg": algorithm, "use": "sig"}


def public_half(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a key that verifies tokens; a shared secret is returned whole."""
    return {name: value for name, value in key.items() if name != "d"}


def mint(  # noqa: PLR0913  # one for each claim
    key: Mapping[str, Any], learner: int, *, audience: str, issuer: str, now: datetime, valid: timedelta
) -> str:
    """Make a token for a learner, signed with a JSON Web Key: a private key or a shared secret."""
    claims = {
        "sub": str(learner),
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + valid).timestamp()),
    } | ({"iss": issuer} if issuer else {})
    signer = JWKRegistry.import_key({name: value for name, value in key.items() if name != "alg"})
    header = {"alg": key["alg"], "kid": key["kid"], "typ": "at+jwt"}
    return jwt.encode(header, claims, signer, registry=_REGISTRY)
