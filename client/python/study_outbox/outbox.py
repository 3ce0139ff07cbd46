"""Keep sessions on disk, from the return of `add` until they are recorded, or the learner gives them up."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from os import PathLike
from typing import Any, Self

import httpx

from study_outbox.answer import LONGEST_RETRY_AFTER, Action, Answer, judge, pause_after, retry_after
from study_outbox.store import Item, Store

log = logging.getLogger("study_outbox")

PATH = "/ingest/study/attempts"
LANES = 4
DEADLINE = 30.0
LONGEST_ANSWER = 1_000_000  # bytes
MAX_ATTEMPTS = 500
MAX_BYTES = 1_048_500  # 1 MiB, less what `sent_at` adds
LONGEST_WAIT = 900.0
STUCK = 8  # tries
MAX_REFUSALS = 2 * LANES
# Look again even if nothing wakes the thread: another process may have added a session, or a token may be
# there again.
LOOK_AGAIN = 60.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNASKED = object()

Token = str | Callable[[bool], str | None]


class InvalidSessionError(ValueError):
    """A session that the server could never accept."""


class Event(StrEnum):
    """What happened; the callback also gets the session that the event is about, if any."""

    CHANGE = "change"
    SENT = "sent"
    REFUSED = "refused"
    TOKEN_NEEDED = "token-needed"  # noqa: S105  # sign in, then `flush`
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an outbox; times in seconds since 1970. `last_answer`: status (0: no answer) and time."""

    waiting: int
    refused: int
    oldest: float | None
    next_try: float | None
    last_answer: tuple[int, float] | None


@dataclass(slots=True)
class _Round:
    """What the lanes of one round share: a round sends what waits, and its lanes are threads."""

    everything: bool
    tried: set[str] = field(default_factory=set)
    is_paused: bool = False
    is_held: bool = False
    was_refused: bool = False
    wait: float = 0.0


class _ThisThread(threading.local):
    """Whether the current thread is sending: a callback in it must not wait for the end of the sending."""

    is_sending = False


class Outbox:
    """The sessions of one learner, in a file that several processes may share.

    `token`: the learner's token, or a function that returns it (None: there is no token now). The function is
    called with False; if the server has refused the returned token, the function is called again, with True.
    `on_event` is called from the threads that send, and from those that call `add`, `forget` or `flush`.

    As a context manager, the outbox sends in the background; leaving the `with` waits for posts under way,
    30 s at most. Without a `with`, only `flush` sends.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        url: str,
        learner: str | int,
        token: Token,
        on_event: Callable[[Event, Item | None], object] = lambda _event, _item: None,
    ) -> None:
        self._ask = token if callable(token) else lambda _refused: token
        self._on_event = on_event
        self._store = Store(path, str(learner))
        base = httpx.URL(url.rstrip("/"))
        # A proxy that the environment names cannot reach a server on this machine's loopback address.
        mounts = {"http://": None, "https://": None} if base.host in LOOPBACK else None
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # a portal on the way may send some
        self._http = httpx.Client(base_url=base, timeout=DEADLINE, mounts=mounts, cookies=no_cookies)
        self._pool = ThreadPoolExecutor(LANES, thread_name_prefix="study-outbox")
        self._thread = threading.Thread(target=self._run, name="study-outbox", daemon=True)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._draining = threading.Lock()
        self._this_thread = _ThisThread()
        self._flush_asked = False
        self._tokens = threading.Lock()
        # Refused tokens, and when each token is tried again: a proxy, not the server, may have refused it.
        self._refused: dict[str | None, float] = {}
        self._fresh: Any = _UNASKED
        # Refusals since the last answer of another kind: limited, as each call may return a new token.
        self._refusals = 0
        # Rounds that failed since the last answer; the end of the pause; the end that Retry-After asked for.
        self._failed_rounds = 0
        self._paused_until = self._asked_until = 0.0
        self._last_answer: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending, and close the file; sessions that wait stay in the file.

        If `on_event` calls `close` in a thread that sends, this thread cannot wait for its own end, and
        sending is only stopped. Then call `close` again later, outside of `on_event`.
        """
        self._stop.set()
        self._wake.set()
        if self._this_thread.is_sending:
            return
        if self._thread.ident is not None:
            self._thread.join()
        with self._draining:
            self._pool.shutdown()
            self._http.close()
            self._store.close()

    def add(self, session: dict[str, Any]) -> None:
        """Keep a finished session; it is on disk when this returns.

        Raise InvalidSessionError if the session can never be sent, KnownSessionError if another session has
        its id, and sqlite3.Error if the file cannot be written, as on a full disk.
        """
        session_id = str(session.get("client_session_uuid")).lower()
        attempts = session.get("attempts")
        try:
            content = {name: value for name, value in session.items() if name != "sent_at"}
            text = json.dumps(content, allow_nan=False, ensure_ascii=False)
            size = len(text.encode())
        except (TypeError, ValueError) as error:
            raise InvalidSessionError(
                f"the session cannot be written as JSON: {type(error).__name__}"
            ) from None
        if not _UUID.fullmatch(session_id):
            raise InvalidSessionError("a session needs a client_session_uuid: a UUID made for this session")
        if not isinstance(attempts, list) or not 0 < len(attempts) <= MAX_ATTEMPTS or size > MAX_BYTES:
            raise InvalidSessionError(
                f"a session must have 1 to {MAX_ATTEMPTS} attempts, and be at most 1 MiB"
            )
        self._store.add(session_id, text)
        self._on_event(Event.CHANGE, None)
        self._wake.set()

    def flush(self) -> None:
        """Try every waiting session now; return when no more can be done.

        Nothing is sent before the end of a Retry-After. If `on_event` calls `flush` in a thread that sends,
        `flush` returns at once: the thread itself tries every session once more.
        """
        if self._this_thread.is_sending:
            self._flush_asked = True
        else:
            self._send_due(everything=True)

    def status(self) -> Status:
        """Return how many sessions wait, how many were refused, when the next try is, and the last answer."""
        waiting, refused, oldest, next_at = self._store.count()
        pause = time.time() + max(0.0, self._paused_until - time.monotonic())
        next_try = None if next_at is None else max(next_at, pause)
        return Status(waiting, refused, oldest, next_try, self._last_answer)

    def items(self) -> list[Item]:
        """List what is kept: refused sessions first, then waiting ones, each kind oldest first."""
        return self._store.items()

    def forget(self, session_id: str) -> None:
        """Delete a session that the learner gives up."""
        self._store.delete(session_id.lower())
        self._on_event(Event.CHANGE, None)

    def export(self) -> str:
        """Return the kept sessions as NDJSON, which `study-ingest upload` reads."""
        return "".join(json.dumps(item.session, ensure_ascii=False) + "\n" for item in self.items())

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                is_held = self._send_due()
                next_try = self.status().next_try
                wait = LOOK_AGAIN if is_held or next_try is None else next_try - time.time()
            except Exception:  # an error of the disk or of a callback: it may be gone later
                log.exception("the outbox cannot send; it tries again in %.0f s", LOOK_AGAIN)
                wait = LOOK_AGAIN
            self._wake.wait(min(max(wait, 0.0), LOOK_AGAIN))

    def _send_due(self, *, everything: bool = False) -> bool:
        """Send the sessions that are due, or all; return whether a token is missing.

        If a callback asks for a flush meanwhile, send all once more.
        """
        with self._draining:
            self._this_thread.is_sending = True
            try:
                is_held = self._send_now(everything=everything)
                return self._send_now(everything=True) if self._flush_asked else is_held
            finally:
                self._this_thread.is_sending = self._flush_asked = False

    def _send_now(self, *, everything: bool) -> bool:
        """Send the sessions that are due; return whether a token is missing.

        `everything`: send all waiting sessions. Sending ends early if the outbox has to pause, has no token,
        or is closed.
        """
        if everything:
            self._paused_until = self._asked_until
            with self._tokens:
                self._refused.clear()
                self._refusals = 0
                self._fresh = _UNASKED
        round_ = _Round(everything)
        while not self._stop.is_set() and time.monotonic() >= self._paused_until:
            before, round_.was_refused = len(round_.tried), False
            # After a failure, send one session alone, each time another one: the session may be the cause.
            is_probe = self._failed_rounds > 0
            lanes = [self._pool.submit(self._lane, round_, is_probe) for _ in range(1 if is_probe else LANES)]
            for lane in lanes:
                lane.result()
            if round_.is_paused:
                pause = pause_after(self._failed_rounds)
                self._failed_rounds += 1
                self._asked_until = time.monotonic() + round_.wait
                self._paused_until = max(self._asked_until, time.monotonic() + pause)
                self._on_event(Event.CHANGE, None)
                return False
            if round_.is_held:
                self._fresh = _UNASKED
                if self._refusals <= MAX_REFUSALS:
                    self._refusals = 0
                self._on_event(Event.TOKEN_NEEDED, None)
                return True
            if len(round_.tried) == before and not round_.was_refused:
                return False
            self._failed_rounds = 0
        return False

    def _lane(self, round_: _Round, is_probe: bool) -> None:  # noqa: FBT001  # passed on by a pool
        self._this_thread.is_sending = True
        while not (round_.is_paused or round_.is_held or self._stop.is_set()):
            skip = self._failed_rounds % max(1, self._store.count()[0]) if is_probe else 0
            item = self._store.claim(everything=round_.everything, but=round_.tried, skip=skip)
            if item is None and skip:
                item = self._store.claim(everything=round_.everything, but=round_.tried, skip=0)
            if item is None:
                return
            round_.tried.add(item.id)
            self._send(item, round_)
            if is_probe:
                return

    def _send(self, item: Item, round_: _Round) -> None:
        """Send a session, and do what the answer demands."""
        try:
            token = self._token()
        except Exception:  # such as when a token has to be fetched, and the network is away
            log.warning("the function that returns the token failed", exc_info=True)
            self._store.release(item.id)
            round_.is_paused = True
            return
        if token is None:
            self._store.release(item.id)
            round_.is_held = True
            return
        answer = self._post(item, token)
        self._last_answer = (answer.status, time.time())
        action, body = judge(item.id, answer)
        if action is not Action.TOKEN:
            self._refusals = 0
        match action:
            case Action.DELETE:
                self._store.delete(item.id)
                self._on_event(Event.SENT, item)
            case Action.REFUSE:
                self._store.refuse(item.id, body)
                self._on_event(Event.REFUSED, item)
            case Action.LATER:
                tries = item.tries + 1
                self._store.postpone(item.id, tries, time.time() + min(LONGEST_WAIT, 2.0 ** min(tries, 10)))
                if tries == STUCK:
                    self._on_event(Event.STUCK, item)
            case Action.TOKEN:
                self._refuse(token)
                self._store.release(item.id)
                round_.tried.discard(item.id)
                round_.was_refused = True
                round_.is_held |= self._refusals > MAX_REFUSALS
            case Action.PAUSE:
                self._store.release(item.id)
                round_.is_paused = True
                round_.wait = max(round_.wait, answer.wait)
        self._on_event(Event.CHANGE, None)

    def _post(self, item: Item, token: str) -> Answer:
        body = json.dumps(item.session | {"sent_at": local_time()}, ensure_ascii=False)
        headers = {"Authorization": f"Bearer {token.strip()}", "Content-Type": "application/json"}
        end = time.monotonic() + DEADLINE
        try:
            with self._http.stream("POST", PATH, content=body.encode(), headers=headers) as response:
                text = b""
                for part in response.iter_bytes():
                    text += part
                    if len(text) > LONGEST_ANSWER or time.monotonic() > end:
                        return Answer(0)
        except (httpx.HTTPError, UnicodeError):
            return Answer(0)
        wait = retry_after(response.headers.get("Retry-After"))
        kind = response.headers.get("Content-Type", "")
        return Answer(response.status_code, kind, text.decode("utf-8-sig", "replace"), wait)

    def _token(self) -> str | None:
        """Return a token that was not refused, or None; a new token is asked for once for all lanes."""
        with self._tokens:
            now = time.monotonic()
            self._refused = {token: until for token, until in self._refused.items() if until > now}
            token = self._ask(False)  # noqa: FBT003  # whether it was refused
            if token in self._refused:
                if self._fresh is _UNASKED:
                    self._fresh = self._ask(True)  # noqa: FBT003  # as above
                token = self._fresh
            return None if token in self._refused else token

    def _refuse(self, token: str) -> None:
        """Note the value of a token that was refused: all lanes may have sent the same token."""
        with self._tokens:
            self._refusals += 1
            if token not in self._refused:
                self._refused[token] = time.monotonic() + LONGEST_RETRY_AFTER
                if token != self._fresh:
                    self._fresh = _UNASKED


def local_time(at: datetime | None = None) -> str:
    """Write a time as the device's wall clock shows it, with its offset: both decide the study date."""
    return (at or datetime.now()).astimezone().isoformat(timespec="milliseconds")  # noqa: DTZ005  # made aware
