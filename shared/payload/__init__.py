"""What a viewer sends: read strictly once, at the door, so that everything behind it can trust it."""

from shared.payload.fault import Fault, InvalidPayloadError
from shared.payload.read import parse_upload
from shared.payload.strict_json import NotJsonError
from shared.payload.upload import Attempt, Upload, content_hash

__all__ = [
    "Attempt",
    "Fault",
    "InvalidPayloadError",
    "NotJsonError",
    "Upload",
    "content_hash",
    "parse_upload",
]
