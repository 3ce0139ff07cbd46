"""Post messages to the receiver, all at once, and wait no longer than agreed."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import httpx

from shared.config import Settings
from shared.failure import describe
from shared.followups.message import Message
from shared.followups.signature import signed_headers

# Enough to read what is wrong.
KEPT_BYTES = 300
# Client errors that pass: the receiver was too slow or too busy.
PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said; `code` is its HTTP status, None where it did not answer."""

    code: int | None
    text: str

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver has taken the message."""
        return self.code is not None and httpx.codes.is_success(self.code)

    @property
    def refused(self) -> bool:
        """Tell whether another try is in vain. A redirect is: the URL is wrong, and stays so."""
        if self.code is None or self.code in PASSING:
            return False
        return httpx.codes.is_redirect(self.code) or httpx.codes.is_client_error(self.code)


def post_all(messages: Sequence[Message], settings: Settings) -> list[Answer]:
    """Post messages side by side; return their answers in the same order."""
    return asyncio.run(_post_all(messages, settings)) if messages else []


async def _post_all(messages: Sequence[Message], settings: Settings) -> list[Answer]:
    # No timeout of its own: it would begin anew with every byte.
    async with httpx.AsyncClient(verify=_tls(), timeout=None) as client:  # noqa: S113  # see _post
        return await asyncio.gather(*(_post(client, message, settings) for message in messages))


async def _post(client: httpx.AsyncClient, message: Message, settings: Settings) -> Answer:
    try:
        async with asyncio.timeout(settings.followup_timeout):
            return await _exchange(client, message, settings)
    except TimeoutError:
        return Answer(None, f"no answer within {settings.followup_timeout:g} s")
    except Exception as error:  # noqa: BLE001  # whatever it is: recorded, and no other message suffers
        return Answer(None, describe(error))


async def _exchange(client: httpx.AsyncClient, message: Message, settings: Settings) -> Answer:
    body = message.body()
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",  # a packed answer could be far longer than it looks
        "user-agent": "study-ingest",
        **signed_headers(settings.followup_keys, str(message.id), int(time.time()), body),
    }
    url = settings.followup_webhook_url
    async with client.stream("POST", url, content=body, headers=headers) as response:
        # That it was taken is known; a slow rest could not change it.
        text = "" if response.is_success else await _beginning(response)
        return Answer(response.status_code, f"{response.status_code} {text}".rstrip())


async def _beginning(response: httpx.Response) -> str:
    kept = b""
    async for chunk in response.aiter_raw():
        kept += chunk
        if len(kept) >= KEPT_BYTES:
            break
    return kept[:KEPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


@cache
def _tls() -> ssl.SSLContext:
    """Make the TLS context once: it costs more than a delivery."""
    return httpx.create_ssl_context()
