"""The Python outbox: what it keeps, what it sends, and what it does about each answer."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine

import study_outbox.outbox
import study_outbox.store
from api.app import create_app
from shared.config import Settings
from shared.models import Upload
from study_outbox import Event, InvalidSessionError, Item, KnownSessionError, Outbox
from tests.browser.proxy import Handler, Proxy, proxying
from tests.factories import answer, rows, upload
from tests.processes import ROOT, until

AT = "2026-11-20T18:00:00+09:00"
TOKEN = "viewer-token-of-tests"
PROBLEM = {"Content-Type": "application/problem+json"}
Serve = Callable[..., httpx.Client]
Make = Callable[..., Outbox]


def session(**changes: Any) -> dict[str, Any]:
    return upload(answer("q110", AT), finished_at=AT) | changes


def problem(slug: str, status: int, **headers: str) -> Callable[[Handler], None]:
    body = json.dumps({"type": f"/problems/{slug}", "title": slug, "status": status}).encode()
    return lambda handler: handler.answer(status, body, PROBLEM | headers)


@pytest.fixture
def proxy(serve: Serve, settings: Settings) -> Iterator[Proxy]:
    web = serve(create_app(settings), settings)
    with proxying(str(web.base_url)) as proxy:
        yield proxy


@pytest.fixture
def events() -> list[tuple[Event, Item | None]]:
    return []


@pytest.fixture
def make(tmp_path: Path, proxy: Proxy, events: list[tuple[Event, Item | None]]) -> Iterator[Make]:
    made: list[Outbox] = []

    def make(**changes: Any) -> Outbox:
        given: dict[str, Any] = {"url": proxy.url, "learner": 1, "token": TOKEN}
        given["on_event"] = lambda *event: events.append(event)
        outbox = Outbox(tmp_path / "outbox.db", **given | changes)
        made.append(outbox)
        return outbox

    yield make
    for outbox in made:
        outbox.close()


def seen(events: list[tuple[Event, Item | None]]) -> list[Event]:
    return [event for event, _ in events if event is not Event.CHANGE]


def test_a_session_is_sent_in_the_background_and_deleted(
    make: Make, engine: Engine, events: list[tuple[Event, Item | None]]
) -> None:
    sent = session()
    with make() as outbox:
        outbox.add(sent)
        until(lambda: not outbox.items(), "it is sent")
    assert [str(row["client_session_uuid"]) for row in rows(engine, Upload)] == [sent["client_session_uuid"]]
    assert "sent_at" in rows(engine, Upload)[0]["payload"]
    assert seen(events) == [Event.SENT]


def test_the_readme_says_how_a_session_is_sent(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text()
    code = readme[readme.index("From Python") :].split("```python\n", 1)[1].split("```", 1)[0]
    monkeypatch.chdir(tmp_path)
    names = {"url": proxy.url, "token": TOKEN, "attempts": [answer("q110", AT)]}
    exec(code, names)  # noqa: S102  # our own
    with Outbox(tmp_path / "outbox.db", url=proxy.url, learner=42, token=TOKEN) as outbox:
        until(lambda: not outbox.items(), "it is sent")
    assert len(proxy.recorded) == 1


def test_a_cookie_of_a_portal_is_not_sent_back(make: Make, proxy: Proxy) -> None:
    cookies: list[str | None] = []

    def portal(handler: Handler) -> None:
        cookies.append(handler.headers.get("Cookie"))
        problem("store-unavailable", 503, **{"Set-Cookie": "device=42"})(handler)

    proxy.fault = portal
    outbox = make()
    outbox.add(session())
    for _ in range(2):
        outbox.flush()
    assert len(cookies) >= 2
    assert set(cookies) == {None}


def test_what_is_added_is_sent_by_the_next_process(make: Make, proxy: Proxy) -> None:
    first = make()
    for _ in range(20):
        first.add(session())
    first.close()
    second = make()
    second.flush()
    assert (second.status().waiting, len(set(proxy.recorded)), proxy.repeated()) == (0, 20, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_session_uuid": "6f1c1f0e"},
        {"client_session_uuid": None},
        {"attempts": []},
        {"attempts": None},
        {"attempts": [answer("q", AT)] * 501},
        {"note": "x" * 1_048_576},
        {"note": float("nan")},
        {"note": "\ud800"},
        {"note": object()},
    ],
)
def test_what_the_server_could_never_accept_is_refused_at_once(make: Make, wrong: dict[str, Any]) -> None:
    outbox = make()
    with pytest.raises(InvalidSessionError):
        outbox.add(session(**wrong))
    assert outbox.items() == []


def test_a_session_is_kept_once_and_other_content_is_refused(make: Make) -> None:
    outbox, sent = make(), session()
    outbox.add(sent)
    outbox.add(dict(reversed(sent.items())) | {"sent_at": AT})
    with pytest.raises(KnownSessionError):
        outbox.add(sent | {"finished_at": "2026-11-20T19:00:00+09:00"})
    assert [item.session for item in outbox.items()] == [sent]
    assert [json.loads(line) for line in outbox.export().splitlines()] == [sent]


def test_learners_who_share_a_file_see_their_own(make: Make) -> None:
    one, two = make(learner=1), make(learner=2)
    one.add(session())
    assert (one.status().waiting, two.status().waiting) == (1, 0)
    two.flush()
    assert one.status().waiting == 1


REFUSED = [("conflicting-upload", 409), ("body-too-large", 413), ("invalid-payload", 422)]


@pytest.mark.parametrize(("slug", "status"), REFUSED)
def test_a_refused_session_is_kept_with_the_problem_and_the_rest_go_on(
    make: Make, proxy: Proxy, events: list[tuple[Event, Item | None]], slug: str, status: int
) -> None:
    outbox, bad = make(), session()

    def fault(handler: Handler) -> None:
        is_bad = bad["client_session_uuid"] in handler.body.decode()
        return problem(slug, status)(handler) if is_bad else handler.pass_on()

    proxy.fault = fault
    for each in (bad, session(), session()):
        outbox.add(each)
    for _ in range(2):
        outbox.flush()
    (item,) = outbox.items()
    assert (item.session, item.state, item.problem and item.problem["title"]) == (bad, "refused", slug)
    assert [post.status for post in proxy.posts].count(status) == 1
    assert sorted(seen(events)) == [Event.REFUSED, Event.SENT, Event.SENT]
    outbox.forget(item.id)
    assert outbox.items() == []


def cut_off(handler: Handler) -> None:
    handler.send_response(202)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"status": "received"')
    handler.close_connection = True


AWAY: dict[str, Callable[[Handler], None]] = {
    "a captive portal": lambda handler: handler.answer(200, b"<html>", {"Content-Type": "text/html"}),
    "a portal of JSON": lambda handler: handler.answer(200, b"{}", {"Content-Type": "application/json"}),
    "a redirect": lambda handler: handler.answer(307, b"", {"Location": "http://127.0.0.1:1/"}),
    "a reset": Handler.reset,
    "a proxy": lambda handler: handler.answer(502, b"<html>", {"Content-Type": "text/html"}),
    "a content network": lambda handler: handler.answer(521, b"<html>", {"Content-Type": "text/html"}),
    "a portal's sign-in": lambda handler: handler.answer(511, b"<html>", {"Content-Type": "text/html"}),
    "an echo": lambda handler: handler.answer(200, handler.body, {"Content-Type": "application/json"}),
    "503": problem("store-unavailable", 503),
    "429": problem("too-many-requests", 429),
    "half an answer": cut_off,
}


@pytest.mark.parametrize("fault", AWAY.values(), ids=list(AWAY))
def test_where_no_answer_of_ours_comes_all_wait(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Handler], None]
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "pause_after", lambda _rounds: 0.05)
    proxy.fault = fault
    with make() as outbox:
        for _ in range(6):
            outbox.add(session())
        until(lambda: len(proxy.posts) >= 6, "it is tried again and again")
        assert outbox.status().waiting == 6
        assert {item.tries for item in outbox.items()} == {0}
        proxy.fault = None
        until(lambda: outbox.status().waiting == 0, "all are sent")
    assert proxy.repeated() == 0


def test_a_failed_round_counts_once_and_one_session_asks_whether_the_server_is_back(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    monkeypatch.setattr(study_outbox.outbox, "pause_after", lambda number: rounds.append(number) or 0.0)
    outbox = make()
    for _ in range(6):
        outbox.add(session())
    proxy.fault = problem("store-unavailable", 503)
    for _ in range(3):
        outbox.flush()
    assert rounds == [0, 1, 2]
    ids = [post.uuid for post in proxy.posts]
    assert 1 <= len(ids) - 2 <= 4
    assert ids[-1] != ids[-2]  # another one each time


def test_a_retry_after_holds_back_even_a_flush(make: Make, proxy: Proxy) -> None:
    outbox = make()
    outbox.add(session())
    proxy.fault = problem("store-unavailable", 503, **{"Retry-After": "3600"})
    outbox.flush()
    outbox.flush()
    assert len(proxy.posts) == 1
    assert (outbox.status().next_try or 0) > time.time() + 3500


FAULTS = {
    "a fault of the server": problem("internal-error", 500),
    "a body that was cut on its way": problem("not-json", 400),
    "a body that was compressed on its way": problem("unsupported-media-type", 415),
    "a firewall": lambda handler: handler.answer(403, b"<html>", {"Content-Type": "text/html"}),
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=list(FAULTS))
def test_a_session_that_fails_for_itself_waits_alone(
    make: Make,
    proxy: Proxy,
    events: list[tuple[Event, Item | None]],
    answer: Callable[[Handler], None],
) -> None:
    outbox, bad, began = make(), session(), time.time()

    def fault(handler: Handler) -> None:
        is_bad = bad["client_session_uuid"] in handler.body.decode()
        return answer(handler) if is_bad else handler.pass_on()

    proxy.fault = fault
    for each in (bad, session(), session()):
        outbox.add(each)
    for _ in range(9):
        outbox.flush()
    (item,) = outbox.items()
    assert item.session == bad
    assert item.tries >= 9  # the sender thread may have had a turn of its own
    longest = min(900, 2**item.tries)
    assert began + longest / 2 < item.next_at <= time.time() + longest
    assert seen(events).count(Event.STUCK) == 1


class Tokens:
    """Give tokens as a sign-in does; remember what was asked."""

    def __init__(self, old: str | None, new: str | None) -> None:
        self.old, self.new, self.asked = old, new, list[bool]()

    def __call__(self, refused: bool) -> str | None:  # noqa: FBT001  # as the outbox calls it
        self.asked.append(refused)
        return self.new if refused else self.old


def test_an_old_token_is_renewed_once_for_all_lanes(make: Make, proxy: Proxy) -> None:
    tokens = Tokens("an-old-token-of-tests", TOKEN)
    outbox = make(token=tokens)
    for _ in range(12):
        outbox.add(session())
    outbox.flush()
    assert outbox.status().waiting == 0
    assert tokens.asked.count(True) == 1
    assert [post.status for post in proxy.posts].count(401) <= 4


@pytest.mark.parametrize("new", [None, "an-old-token-of-tests", "another-wrong-token-of-tests"])
def test_without_a_good_token_all_wait_untouched(
    make: Make, proxy: Proxy, events: list[tuple[Event, Item | None]], new: str | None
) -> None:
    tokens = Tokens("an-old-token-of-tests", new)
    outbox = make(token=tokens)
    for _ in range(6):
        outbox.add(session())
    outbox.flush()
    assert {(item.state, item.tries) for item in outbox.items()} == {("waiting", 0)}
    assert seen(events) == [Event.TOKEN_NEEDED]
    assert len(proxy.posts) <= 8
    tokens.old = TOKEN  # signed in
    outbox.flush()
    assert outbox.status().waiting == 0


def test_a_function_that_always_makes_another_token_is_not_asked_for_ever(make: Make, proxy: Proxy) -> None:
    outbox = make(token=lambda _refused: f"wrong-token-{uuid4()}")
    outbox.add(session())
    outbox.flush()
    assert outbox.status().waiting == 1
    assert len(proxy.posts) < 20


def test_an_old_token_is_renewed_after_an_outage_too(make: Make, proxy: Proxy) -> None:
    outbox = make(token=Tokens("an-old-token-of-tests", TOKEN))
    outbox.add(session())
    proxy.fault = problem("store-unavailable", 503)
    outbox.flush()
    proxy.fault = None
    outbox.flush()
    assert outbox.status().waiting == 0


def test_after_an_outage_it_is_not_asked_for_ever_either(
    make: Make, proxy: Proxy, events: list[tuple[Event, Item | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "pause_after", lambda _rounds: 0.05)
    proxy.fault = problem("store-unavailable", 503)
    with make(token=lambda _refused: f"wrong-token-{uuid4()}") as outbox:
        outbox.add(session())
        until(lambda: proxy.posts, "one post failed")
        proxy.fault = None
        until(lambda: Event.TOKEN_NEEDED in seen(events), "the outbox asks to sign in")
        assert outbox.status().waiting == 1
    assert [post.status for post in proxy.posts].count(401) < 20


@pytest.mark.parametrize("in_background", [True, False])
def test_a_callback_may_sign_in_and_flush(make: Make, in_background: bool) -> None:  # noqa: FBT001
    token: list[str] = []

    def sign_in(event: Event, _item: Item | None) -> None:
        if event is Event.TOKEN_NEEDED:
            token.append(TOKEN)
        if event is not Event.CHANGE:  # also in the thread that has just sent a session
            outbox.flush()

    outbox = make(token=lambda _refused: token[0] if token else None, on_event=sign_in)
    for _ in range(2):
        outbox.add(session())
    if in_background:
        with outbox:
            until(lambda: not outbox.items(), "both are sent")
    else:
        outbox.flush()
        assert outbox.items() == []


@pytest.mark.parametrize("in_background", [True, False])
def test_a_callback_may_close_the_outbox(make: Make, proxy: Proxy, in_background: bool) -> None:  # noqa: FBT001
    outbox = make(on_event=lambda event, _item: outbox.close() if event is Event.SENT else None)
    outbox.add(session())
    if in_background:
        with outbox:
            until(lambda: not outbox.items(), "it is sent")
    else:
        outbox.flush()
    outbox.close()
    assert len(proxy.posts) == 1


def test_a_token_that_cannot_be_had_now_is_asked_for_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "pause_after", lambda _rounds: 0.05)
    failures = [OSError("no network")] * 2

    def token(_refused: bool) -> str:  # noqa: FBT001  # as the outbox calls it
        if failures:
            raise failures.pop()
        return TOKEN

    with make(token=token) as outbox:
        outbox.add(session())
        until(lambda: not outbox.items(), "it is sent")


def test_T5_two_outboxes_on_one_file_send_each_session_once(make: Make, proxy: Proxy) -> None:
    one, two = make(), make()
    for _ in range(60):
        one.add(session())
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda outbox: outbox.flush(), (one, two)))
    one.flush()
    assert one.status().waiting == 0
    assert (len(proxy.recorded), proxy.repeated()) == (60, 0)


def test_T5_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    script = "import sys; from study_outbox.store import Store; sys.stdin.read(); Store(sys.argv[1], '1')"
    for number in range(5):
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / f"{number}.db")]
        started = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
        time.sleep(0.5)  # until all wait for the end of their input
        for each in started:
            assert each.stdin
            each.stdin.close()
        assert [each.wait() for each in started] == [0] * 4


def test_a_lease_ends_and_a_clock_that_was_set_back_does_not_prolong_it(make: Make, tmp_path: Path) -> None:
    outbox = make()
    outbox.add(session())
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        other.execute("UPDATE sessions SET leased_until = ?", (time.time() + 30,))
    outbox.flush()
    assert outbox.status().waiting == 1
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        other.execute("UPDATE sessions SET leased_until = ?1, next_at = ?1", (time.time() + 86_400,))
    other.close()
    with outbox:
        until(lambda: not outbox.items(), "it is sent")


def test_no_session_is_read_to_choose_another(make: Make, tmp_path: Path) -> None:
    make()
    bound = {"learner": "1", "now": 0, "lease": 0, "all": 0, "but": "[]", "skip": 0}
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        claim = f"EXPLAIN QUERY PLAN {study_outbox.store._CLAIM}"  # noqa: SLF001  # nothing else shows it
        plan = "; ".join(row[3] for row in other.execute(claim, bound))
    other.close()
    assert "SEARCH sessions USING COVERING INDEX sessions_order (learner=? AND state=?)" in plan
    assert "TEMP B-TREE" not in plan


def test_an_answer_that_never_ends_does_not_hold_a_lane(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "DEADLINE", 0.3)
    released = threading.Event()

    def trickle(handler: Handler) -> None:
        handler.send_response(202)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not released.wait(0.05):
            handler.wfile.write(b" ")

    proxy.fault = trickle
    outbox = make()
    outbox.add(session())
    outbox.flush()
    released.set()
    assert outbox.status().waiting == 1
    assert (outbox.status().last_answer or (1, 0))[0] == 0


def test_a_callback_that_fails_does_not_end_the_outbox(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "LOOK_AGAIN", 0.05)

    def fail(event: Event, _item: Item | None) -> None:
        if event is Event.SENT:
            raise KeyError("page")

    with make(on_event=fail) as outbox:
        for _ in range(2):
            outbox.add(session())
            until(lambda: not outbox.items(), "it is sent")
    assert "the outbox cannot send" in caplog.text


def test_a_token_that_something_between_has_refused_is_tried_again_later(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, events: list[tuple[Event, Item | None]]
) -> None:
    monkeypatch.setattr(study_outbox.outbox, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(study_outbox.outbox, "LONGEST_RETRY_AFTER", 0.5)
    proxy.fault = lambda handler: handler.answer(401, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    with make() as outbox:
        outbox.add(session())
        until(lambda: Event.TOKEN_NEEDED in seen(events), "it is refused")
        proxy.fault = None
        until(lambda: not outbox.items(), "it is sent")


@pytest.mark.parametrize("change", ["a line end after the token", "a byte order mark before the answer"])
def test_what_a_file_or_a_proxy_adds_does_no_harm(make: Make, proxy: Proxy, change: str) -> None:
    def marked(handler: Handler) -> None:
        answer = handler.ask()
        assert answer is not None
        handler.answer(answer[0], b"\xef\xbb\xbf" + answer[1], answer[2])

    if "answer" in change:
        proxy.fault = marked
    outbox = make(token=TOKEN + "\n" if "token" in change else TOKEN)
    outbox.add(session())
    outbox.flush()
    assert outbox.items() == []


def test_added_sessions_alone_wait_for_the_disk(make: Make) -> None:
    """What else is written may be undone by a power cut: then a session is sent again."""
    outbox = make()
    modes: list[str] = []
    outbox._store._connection.set_trace_callback(  # noqa: SLF001  # nothing else shows it
        lambda statement: modes.append(statement.split()[-1]) if "synchronous" in statement else None
    )
    outbox.add(session())
    outbox.flush()
    assert modes[0] == "FULL"
    assert {*modes[1:]} == {"NORMAL"}
