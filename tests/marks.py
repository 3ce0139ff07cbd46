"""A mark that stands for private data, and a search for it that also knows hexadecimal and base64."""

from base64 import b64encode

# Letters and digits only: no escape changes it.
MARK = "mrk4kx0wq"


def _within_base64(secret: bytes, shift: int) -> bytes:
    """Encode a secret as it looks inside a longer text: without digits that also encode its neighbours."""
    digits = b64encode(b"\0" * shift + secret)
    return digits[-(-8 * shift // 6) : 8 * (shift + len(secret)) // 6]


_DISGUISES = {MARK.encode(), MARK.encode().hex().encode()}
_DISGUISES |= {_within_base64(MARK.encode(), shift) for shift in range(3)}


def is_marked(said: str) -> bool:
    """Tell whether the mark is in a text: as it is, in hexadecimal or in base64."""
    return any(disguise in said.encode() for disguise in _DISGUISES)
