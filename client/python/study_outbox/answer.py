"""What an outbox does after a server's answer.

A session is deleted only after the server's own 202 or 200 that carries the session's id: a captive portal
answers 200 to everything. `client/vectors.json` has an example of each case.
"""

import json
import math
import random
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

LONGEST_RETRY_AFTER = 3600.0
LONGEST_PAUSE = 60.0
_JSON = re.compile(r"[/+]json\b", re.IGNORECASE)
_RECORDED = frozenset({200, 202})
_AWAY = frozenset({407, 408, 421, 425, 429})
_LAST_OF_ONE_SESSION = 501
_FINAL = frozenset({403, 409, 413, 422})


class Action(StrEnum):
    """What to do about an answer."""

    DELETE = "delete"  # the session is recorded
    PAUSE = "pause"  # pause the whole outbox: the server did not answer, or can take no session now
    LATER = "later"  # try this session again later, and go on with the others
    TOKEN = "token"  # noqa: S105  # ask for another token
    REFUSE = "refuse"  # keep the session with the server's problem, and do not send it again


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; status 0: no answer came. `wait` is the answer's Retry-After, in seconds."""

    status: int
    type: str = ""
    text: str = ""
    wait: float = 0.0


def is_away(status: int) -> bool:
    """Return whether an error status says that no session can be taken now, or that the server is away.

    Above 501 there are the server's 503, and answers that come from something between the device and the
    server: a proxy, a content network (520 to 530), a captive portal (511).
    """
    return status in _AWAY or status > _LAST_OF_ONE_SESSION


def judge(session_id: str, answer: Answer) -> tuple[Action, dict[str, Any]]:
    """Decide what an answer to a session means; also return the JSON object that it holds, if any."""
    body = _read(answer)
    if answer.status < 400:  # noqa: PLR2004  # the first of the errors
        # An echo of our own request has the attempts, too; the server's answer has none.
        is_echo = bool(body.get("attempts"))
        recorded = str(body.get("client_session_uuid")).lower() == session_id.lower() and not is_echo
        return (Action.DELETE if answer.status in _RECORDED and recorded else Action.PAUSE), body
    if is_away(answer.status):
        return Action.PAUSE, body
    if answer.status == 401:  # noqa: PLR2004  # a named constant would say no more
        return Action.TOKEN, body
    is_ours = str(body.get("type")).startswith("/problems/")
    return (Action.REFUSE if is_ours and answer.status in _FINAL else Action.LATER), body


def _read(answer: Answer) -> dict[str, Any]:
    if not _JSON.search(answer.type):
        return {}
    try:
        body = json.loads(answer.text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def retry_after(header: str | None) -> float:
    """Read a Retry-After, a number or a date, as seconds: at most an hour, 0 if missing or unreadable."""
    try:
        wait = float(header or 0)
    except ValueError:
        try:
            wait = parsedate_to_datetime(header or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return 0.0 if math.isnan(wait) else min(max(wait, 0.0), LONGEST_RETRY_AFTER)


def pause_after(rounds: int) -> float:
    """Return a random pause: up to 1 s if no round failed before, then up to 2, 4, … 60 s."""
    return random.uniform(0, min(LONGEST_PAUSE, 2.0 ** min(rounds, 10)))  # noqa: S311  # no secret
