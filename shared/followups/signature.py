"""Sign a message as https://www.standardwebhooks.com says."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

PREFIX = "whsec_"
# What Standard Webhooks asks of a secret: 192 to 512 bits.
KEY_BYTES = range(24, 65)


def signing_key(secret: str) -> bytes:
    """Decode a secret; raise ValueError where it is none, without repeating it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError(f"each must be {PREFIX} and 24 to 64 bytes in base64, separated by commas")
    return key


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that let a receiver tell who sent a body, and when.

    One signature a key, so that the receiver's secret can be changed before or after ours. `timestamp`: in
    seconds since 1970.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
    }
