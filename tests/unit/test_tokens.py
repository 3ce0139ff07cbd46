"""Learners' tokens: what is accepted, what is refused, and keys that change while they are in use."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from shared import tokens
from shared.errors import ConfigurationError
from shared.tokens import InvalidTokenError, LearnerTokens, generate_key, mint, public_half

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
AUDIENCE = "https://ds.example"
EDDSA, HS256 = generate_key("EdDSA"), generate_key("HS256")
CLAIMS = {"sub": "42", "aud": AUDIENCE, "exp": int(NOW.timestamp()) + 60}


def write(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": [public_half(key) for key in keys]}))
    return path


def minted(key: dict[str, Any] = EDDSA, learner: int = 42, valid: timedelta = timedelta(hours=12)) -> str:
    return mint(key, learner, audience=AUDIENCE, issuer="", now=NOW, valid=valid)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed(claims: Any, key: dict[str, Any] = EDDSA, **header: Any) -> str:
    """Sign any claims with any header; a member that is None is left out."""
    members = {"alg": key["alg"], "kid": key["kid"]} | header
    text = f"{part({name: value for name, value in members.items() if value is not None})}.{part(claims)}"
    secret = base64.urlsafe_b64decode(key["d" if key["kty"] == "OKP" else "k"] + "==")
    if key["kty"] == "OKP":
        signature = Ed25519PrivateKey.from_private_bytes(secret).sign(text.encode())
    else:
        signature = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.json", EDDSA, HS256)


@pytest.fixture
def learners(keys: Path) -> LearnerTokens:
    return LearnerTokens(keys, audience=AUDIENCE)


@pytest.mark.parametrize("key", [EDDSA, HS256])
def test_a_token_names_its_learner(learners: LearnerTokens, key: dict[str, Any]) -> None:
    for _ in range(2):  # verified, then looked up
        assert learners.verify(minted(key), NOW) == 42
    assert learners.verify(minted(key, 2**63 - 1), NOW) == 2**63 - 1


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"aud": ["https://other.example", AUDIENCE]}, {}),
        (
            {"iss": "https://login.example", "iat": int(NOW.timestamp()), "jti": "7", "client_id": "viewer"},
            {},
        ),
        ({"exp": NOW.timestamp() - 59.5}, {}),
        ({"exp": 10**400}, {}),
        ({"iat": int(NOW.timestamp()) + 59}, {}),
        ({}, {"typ": "at+jwt"}),
        ({}, {"typ": "application/at+jwt"}),
        ({}, {"alg": "Ed25519"}),
    ],
)
def test_what_other_issuers_write_is_accepted(
    learners: LearnerTokens, claims: dict[str, Any], header: dict[str, Any]
) -> None:
    assert learners.verify(signed(CLAIMS | claims, **header), NOW) == 42


STRANGER = generate_key("EdDSA")

FORGED: dict[str, Callable[[], str]] = {
    "no token at all": lambda: "",
    "two parts": lambda: minted().rpartition(".")[0],
    "not base64": lambda: "a.b.c",
    "not ASCII": lambda: minted()[:-1] + "ü",
    "alg none, no signature": lambda: f"{part({'alg': 'none', 'kid': EDDSA['kid']})}.{part(CLAIMS)}.",
    "alg none, as another key": lambda: (
        f"{part({'alg': 'none', 'kid': EDDSA['kid']})}.{part(CLAIMS)}.{minted().rpartition('.')[2]}"
    ),
    "no alg": lambda: f"{part({'kid': EDDSA['kid']})}.{part(CLAIMS)}.{minted().rpartition('.')[2]}",
    # The public key of a pair is known: as a secret it must be worth nothing.
    "HS256 with the public key as its secret": lambda: signed(
        CLAIMS, {"kty": "oct", "k": EDDSA["x"], "kid": EDDSA["kid"], "alg": "HS256"}
    ),
    "the name of an algorithm that the key does not have": lambda: (
        part({"alg": "EdDSA", "kid": HS256["kid"]}) + "." + ".".join(minted(HS256).split(".")[1:])
    ),
    "a key of somebody else": lambda: signed(CLAIMS, STRANGER),
    "a key of somebody else under our kid": lambda: signed(CLAIMS, STRANGER, kid=EDDSA["kid"]),
    "the kid of the other key": lambda: signed(CLAIMS, kid=HS256["kid"]),
    "no kid": lambda: signed(CLAIMS, kid=None),
    "a kid that is a path": lambda: signed(CLAIMS, kid="../../../../dev/null"),
    "a kid that is SQL": lambda: signed(CLAIMS, kid="' OR 1=1 --"),
    "an embedded key": lambda: signed(CLAIMS, STRANGER, jwk=public_half(STRANGER)),
    "an embedded key under our kid": lambda: signed(
        CLAIMS, STRANGER, kid=EDDSA["kid"], jwk=public_half(STRANGER) | {"kid": EDDSA["kid"]}
    ),
    "a URL of keys": lambda: signed(CLAIMS, STRANGER, jku="http://127.0.0.1:1/keys.json"),
    "a certificate": lambda: signed(CLAIMS, STRANGER, kid=EDDSA["kid"], x5u="http://127.0.0.1:1/cert"),
    "a critical extension": lambda: signed(CLAIMS, crit=["x"], x=1),
    "an ID token's type": lambda: signed(CLAIMS, typ="logout+jwt"),
    "expired": lambda: signed(CLAIMS | {"exp": int(NOW.timestamp()) - 60}),
    "no exp": lambda: signed({"sub": "42", "aud": AUDIENCE}),
    "exp a text": lambda: signed(CLAIMS | {"exp": "never"}),
    "exp true": lambda: signed(CLAIMS | {"exp": True}),
    "exp NaN": lambda: signed(CLAIMS | {"exp": float("nan")}),
    "exp infinite": lambda: signed(CLAIMS | {"exp": float("inf")}),
    "not yet valid": lambda: signed(CLAIMS | {"nbf": int(NOW.timestamp()) + 61}),
    "issued in the future": lambda: signed(CLAIMS | {"iat": int(NOW.timestamp()) + 61}),
    "another audience": lambda: signed(CLAIMS | {"aud": "https://other.example"}),
    "no audience": lambda: signed({"sub": "42", "exp": CLAIMS["exp"]}),
    "an empty audience": lambda: signed(CLAIMS | {"aud": []}),
    "no sub": lambda: signed({"aud": AUDIENCE, "exp": CLAIMS["exp"]}),
    "sub a number": lambda: signed(CLAIMS | {"sub": 42}),
    "sub zero": lambda: signed(CLAIMS | {"sub": "0"}),
    "sub signed": lambda: signed(CLAIMS | {"sub": "+42"}),
    "sub with a zero before": lambda: signed(CLAIMS | {"sub": "042"}),
    "sub in other digits": lambda: signed(CLAIMS | {"sub": "٤٢"}),
    "sub with a line feed": lambda: signed(CLAIMS | {"sub": "42\n"}),
    "sub beyond bigint": lambda: signed(CLAIMS | {"sub": str(2**63)}),
    "claims a list": lambda: f"{minted().partition('.')[0]}.{part([1])}.{minted().rpartition('.')[2]}",
    "a claim changed": lambda: (
        f"{minted().partition('.')[0]}.{part(CLAIMS | {'sub': '43'})}.{minted().rpartition('.')[2]}"
    ),
    "more than 4 KB": lambda: signed(CLAIMS | {"client_id": "x" * 4096}),
    "40 KB of dots": lambda: "." * 40_000,
    "a header of 2,000 brackets": lambda: (
        base64.urlsafe_b64encode(b"[" * 2000).decode().rstrip("=") + ".e30.e30"
    ),
    "another type of key": lambda: jwt.encode(
        {"alg": "ES256", "kid": EDDSA["kid"]}, CLAIMS, ECKey.generate_key("P-256"), algorithms=["ES256"]
    ),
    "a JWE": lambda: f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..AAAA.AAAA.AAAA",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=list(FORGED))
def test_a_forged_token_is_refused(learners: LearnerTokens, forged: Callable[[], str]) -> None:
    token = forged()
    for _ in range(2):  # a refused token is not kept
        with pytest.raises(InvalidTokenError) as refused:
            learners.verify(token, NOW)
    assert not token or token not in str(refused.value)


@given(
    st.text(st.characters(codec="latin-1"), max_size=200)
    | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=") + ".e30.AAAA")
)
def test_nothing_else_that_a_header_can_hold_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, token: str
) -> None:
    learners = LearnerTokens(write(tmp_path_factory.getbasetemp() / "any.json", EDDSA), audience=AUDIENCE)
    with pytest.raises(InvalidTokenError):
        learners.verify(token, NOW)


def test_an_accepted_token_expires_though_it_is_kept(learners: LearnerTokens) -> None:
    token = minted(valid=timedelta(minutes=1))
    assert learners.verify(token, NOW + timedelta(seconds=119)) == 42
    with pytest.raises(InvalidTokenError):
        learners.verify(token, NOW + timedelta(seconds=120))


def test_the_issuer_is_checked_where_one_is_set(keys: Path) -> None:
    learners = LearnerTokens(keys, audience=AUDIENCE, issuer="https://login.example")
    assert learners.verify(signed(CLAIMS | {"iss": "https://login.example"}), NOW) == 42
    for claims in (CLAIMS, CLAIMS | {"iss": "https://other.example"}):
        with pytest.raises(InvalidTokenError):
            learners.verify(signed(claims), NOW)


def test_old_tokens_are_good_until_their_key_is_taken_out(keys: Path, learners: LearnerTokens) -> None:
    old, new = minted(EDDSA), minted(STRANGER)
    assert learners.verify(old, NOW) == 42
    with pytest.raises(InvalidTokenError):
        learners.verify(new, NOW)

    write(keys, EDDSA, STRANGER)
    assert learners.verify(old, NOW) == learners.verify(new, NOW) == 42

    write(keys, STRANGER)
    assert learners.verify(new, NOW) == 42
    with pytest.raises(InvalidTokenError):
        learners.verify(old, NOW)


@pytest.mark.parametrize("broken", ["", "{", '{"keys": [{"kty": "OKP"}]}', None])
def test_a_file_that_breaks_later_leaves_the_keys_as_they_are(
    keys: Path, learners: LearnerTokens, broken: str | None
) -> None:
    if broken is None:
        keys.unlink()
    else:
        keys.write_text(broken)
    assert learners.verify(minted(), NOW) == 42
    write(keys, STRANGER)
    assert learners.verify(minted(STRANGER), NOW) == 42


def test_an_empty_set_refuses_every_token(keys: Path, learners: LearnerTokens) -> None:
    write(keys)
    with pytest.raises(InvalidTokenError):
        learners.verify(minted(), NOW)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("{", "not a usable JSON Web Key Set"),
        ("[]", "not a usable JSON Web Key Set"),
        ({"keys": [{"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"}]}, "must be OKP with Ed25519"),
        ({"keys": [EDDSA | {"crv": "X25519"}]}, "must be OKP with Ed25519"),
        ({"keys": [EDDSA | {"alg": "HS256"}]}, "`alg` of an OKP key must be EdDSA"),
        ({"keys": [EDDSA | {"use": "enc"}]}, "`use` must be sig"),
        ({"keys": [{k: v for k, v in EDDSA.items() if k != "kid"}]}, "each key must have a `kid`"),
        ({"keys": [{"kid": "a"}]}, "must be OKP with Ed25519"),
        ({"keys": [EDDSA | {"x": "AAAA"}]}, "not a usable JSON Web Key Set"),
        ({"keys": [HS256 | {"k": "YWFh" * 8}]}, "32 bytes or more"),
        ({"keys": [EDDSA, HS256 | {"kid": EDDSA["kid"]}]}, "the same `kid`"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault_and_without_its_keys(
    tmp_path: Path, content: Any, why: str
) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigurationError, match=why) as refused:
        LearnerTokens(path, audience=AUDIENCE)
    assert "VIEWER_TOKEN_KEYS" in str(refused.value)
    assert HS256["k"] not in str(refused.value)


def test_the_tokens_that_are_kept_are_bounded(
    learners: LearnerTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CACHED", 3)
    for learner in range(1, 10):
        assert learners.verify(minted(HS256, learner), NOW) == learner
    assert len(learners._verified) == 3  # noqa: SLF001  # nothing else shows it
