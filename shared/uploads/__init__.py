"""The rows of `uploads`: the record of every delivery, from its arrival to its final status."""

from shared.uploads.arrival import Delivery, Receipt, Verdict, receive
from shared.uploads.record import Found, find

__all__ = ["Delivery", "Found", "Receipt", "Verdict", "find", "receive"]
