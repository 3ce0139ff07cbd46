"""`catalog sync`: make topics of a server's catalog equal to those of a file, over HTTP.

This module does not load the database's libraries: a document server runs the command after each change, and
loading these libraries takes longer than the sync of a topic (docs/performance.md, "A catalog kept in step").
"""

import json
import os
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import click
import httpx

from cli import remote
from cli.catalog import FORCE, Parts, with_file
from shared import catalog_digest, catalog_form
from shared.catalog_form import CatalogTopic, CatalogUser, EditionChange
from shared.errors import ConfigurationError, StudyIngestError

# Limit of the rows in a request, in bytes. The server accepts 1 MiB, but while it reads, other requests wait.
MAX_REQUEST = 32_000
TIMEOUT_S = 120.0
# The pause after a request that writes is as long as the request took, up to this limit: other requests wait
# while the server works for us (docs/performance.md, "A catalog kept in step").
LONGEST_PAUSE_S = 1.0
# Limit of topics in a request: their digests fit into the 8 KiB that a proxy permits for a header.
MAX_TOPICS = 100
Row = CatalogUser | CatalogTopic | catalog_form.CatalogQuestion


class RefusedCatalogError(StudyIngestError):
    """A request to the server failed or was refused; the text names the request and the reason."""


class RefusedRowsError(RefusedCatalogError):
    """The server refused the rows of a request; it may accept other rows."""


class _Written(NamedTuple):
    """A row in JSON; `kind`: its list in the request; `part`: its topic or learner, as `("topic", 5)`."""

    kind: str
    part: tuple[str, int]
    json: bytes


@click.command()
@with_file
@click.option("--url", required=True, help="The server, e.g. https://ingest.example")
@click.option("--force", is_flag=True, help=FORCE)
def sync(*, parts: Parts, is_table: bool, url: str, force: bool) -> None:
    """Send what differs from a server's catalog, and withdraw what FILE does not have.

    Topics that FILE does not name stay as they are. If the server refuses a topic, for example because
    somebody else changes it meanwhile, the other topics are sent, nothing of this one is withdrawn, and the
    command ends with an error. CATALOG_TOKEN must be set as on the server. Safe to run again.

    For a large FILE use NDJSON (.ndjson, .ndjson.gz): only one line at a time is in memory. Each line is a
    catalog with some of the rows.
    """
    token = remote.first_token(os.environ.get("CATALOG_TOKEN", ""))
    if not token:
        raise ConfigurationError("CATALOG_TOKEN: must be set as on the server")
    learners: dict[int, CatalogUser] = {}
    with remote.connect(url, token, timeout=TIMEOUT_S) as http:
        server = _Server(http, force=force, keep=is_table)
        index = catalog_digest.Index(now=server.now())
        for part in parts():
            index.add(part)
            learners |= {learner.id: learner for learner in part.users}
        index.check()
        server.find_differing(index)
        before = {**server.digests}
        differing = [index.topics[topic] for topic in before]
        questions = (
            each for part in parts() for each in part.questions if each.study_topic_id in server.digests
        )
        number = sum(len(index.asked[topic.id]) for topic in differing)
        with remote.track(questions, number, "sending") as sending:
            sent = server.put(chain(learners.values(), differing, sending))
        differing_still = server.still_differing()  # they have questions, or values, that FILE does not have
        with remote.track(differing_still, len(differing_still), "withdrawing") as topics:
            # A question may still be in this topic only because the topic to which it moves was refused.
            refused = {each for topic in server.refused_topics for each in index.asked[topic]}
            gone = {topic: server.keep_only(topic, index.asked[topic], refused) for topic in topics}
    # Digests also differ by values that a table cannot hold: with a table, a topic counts as different if the
    # server changed the topic.
    changed = [topic for topic in before if server.digests[topic] != before[topic] or gone.get(topic)]
    differed, withdrawn = len(changed if is_table else differing), sum(gone.values())
    click.echo(
        f"{differed} of {len(index.topics)} topics differed: {sent} questions sent, {withdrawn} withdrawn"
    )
    for change in server.changes:
        click.echo(str(change))
    if server.refused:
        raise RefusedCatalogError("\n".join(server.refused.values()))


class _Server:
    """The catalog of a server.

    `digests`: the server's digests of the topics that differed, updated by the server's answers to changes.
    `changes`: what was changed in stored editions. `refused`: for each refused topic or learner, the reason.
    """

    def __init__(self, http: httpx.Client, *, force: bool, keep: bool) -> None:
        self.digests: dict[int, str] = {}
        self.changes: list[EditionChange] = []
        self.refused: dict[tuple[str, int], str] = {}
        self._ours: dict[int, str] = {}
        self._http = http
        self._load = {"force": force, "keep": keep}
        self._next_at = 0.0

    def now(self) -> datetime:
        """Return the time of the server's database, which decides what is retired."""
        with self._ask("GET", "/catalog/digest", params={"limit": 1}) as answer:
            return datetime.fromisoformat(answer["now"])

    def find_differing(self, index: catalog_digest.Index) -> None:
        """Ask for the server's digests of the file's topics; set `digests` to those that differ."""
        remaining, stored = sorted(index.topics), dict[int, str]()
        while remaining:
            page = {"after": remaining[0] - 1, "limit": min(len(remaining), MAX_TOPICS)}
            with self._ask("GET", "/catalog/digest", params=page) as answer:
                found = _digests(answer["topics"])
                if found and max(found) < remaining[0]:  # otherwise the same page would be requested for ever
                    raise ValueError("the answer has topics that were not asked for")
            stored |= found
            remaining = remaining[bisect_right(remaining, max(found)) :] if found else []
        self._ours = {each.topic_id: each.digest for each in index.digests()}
        known = {topic: stored.get(topic, catalog_digest.NEW) for topic in self._ours}
        self.digests = {topic: digest for topic, digest in known.items() if digest != self._ours[topic]}

    def still_differing(self) -> list[int]:
        """Return the topics whose last known digests on the server differ from those of the file.

        Topics of which the server refused a change are left out.
        """
        differing = [topic for topic, digest in self.digests.items() if digest != self._ours[topic]]
        return [topic for topic in differing if ("topic", topic) not in self.refused]

    @property
    def refused_topics(self) -> list[int]:
        """List the topics of which the server refused rows."""
        return [topic for kind, topic in self.refused if kind == "topic"]

    def put(self, rows: Iterable[Row]) -> int:
        """Put rows, in as few requests as possible; return how many questions the server accepted."""
        return sum(map(self._put, _requests(rows)))

    def _put(self, rows: list[_Written]) -> int:
        """Put the rows of a request; if they are refused, put each topic or learner by itself."""
        rows = [row for row in rows if row.part not in self.refused]
        if not rows:
            return 0
        kinds = defaultdict[str, list[bytes]](list)
        of_part = defaultdict[tuple[str, int], list[_Written]](list)
        for row in rows:
            kinds[row.kind].append(row.json)
            of_part[row.part].append(row)
        topics = [topic for kind, topic in of_part if kind == "topic"]
        parts = (b'"%s": [%s]' % (kind.encode(), b",".join(part)) for kind, part in kinds.items())
        body = b"{%s}" % b", ".join(parts)
        try:
            with self._ask("PUT", "/catalog", topics, params=self._load, content=body) as answer:
                names = EditionChange._fields  # a newer server may say more
                self.changes += [EditionChange(*(each[name] for name in names)) for each in answer["changes"]]
                self.digests |= _digests(answer["digests"])
        except RefusedRowsError as error:
            if len(of_part) > 1:
                return sum(map(self._put, of_part.values()))
            self.refused |= dict.fromkeys(of_part, str(error))
            return 0
        return len(kinds["questions"])

    def keep_only(self, topic: int, questions: Iterable[int], refused: set[int]) -> int:
        """Withdraw a topic's questions that are neither in `questions` nor in `refused`; return how many."""
        kept = {*questions}
        if refused:
            with self._ask("GET", f"/catalog/topics/{topic}/questions") as answer:
                kept |= refused.intersection(answer["ids"])
        body = json.dumps({"ids": [*kept]}, separators=(",", ":"))
        try:
            with self._ask("PUT", f"/catalog/topics/{topic}/questions", [topic], content=body) as answer:
                return int(answer["deleted"] + answer["retired"])
        except RefusedRowsError as error:
            self.refused["topic", topic] = str(error)
            return 0

    @contextmanager
    def _ask(self, method: str, path: str, topics: Iterable[int] = (), **request: Any) -> Iterator[Any]:
        """Send a request, and yield the JSON of its response.

        If the `with` block fails, as the JSON has another form, raise RefusedCatalogError: the response is
        not from study-ingest.
        """
        tags = ", ".join(sorted({f'"{self.digests[topic]}"' for topic in topics}))
        headers = {"If-Match": tags} if tags else {}
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        begun = time.monotonic()
        try:
            response = self._http.request(method, path, headers=headers, **request)
            if method != "GET":
                took = time.monotonic() - begun
                self._next_at = time.monotonic() + min(took, LONGEST_PAUSE_S)
            if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:  # from a proxy, not in JSON
                raise RefusedRowsError(f"{method} {path}: the body is too large for the server or its proxy")
            answer = response.json()
            if not response.is_success:
                lines = [f"{each['pointer']}: {each['detail']}" for each in answer.get("errors", [])]
                is_of_topics = response.status_code in {412, 422}
                refused = RefusedRowsError if is_of_topics else RefusedCatalogError
                raise refused("\n".join([f"{method} {path}: {answer['title']}", *lines]))
            yield answer
        except httpx.TransportError as error:
            reason = f"{self._http.base_url} does not answer: {type(error).__name__}"
            raise RefusedCatalogError(f"{method} {path}: {reason}") from None
        # Errors that the JSON of another kind of server can cause.
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise RefusedCatalogError(
                f"{method} {path}: the answer is not from study-ingest ({type(error).__name__})"
            ) from None


def _digests(topics: Any) -> dict[int, str]:
    return {int(each["topic_id"]): str(each["digest"]) for each in topics}


def _requests(rows: Iterable[Row]) -> Iterator[list[_Written]]:
    """Divide rows among small requests."""
    request, topics, size = list[_Written](), set[int](), 0
    for row in rows:
        if isinstance(row, CatalogUser):
            kind, part = "users", ("learner", row.id)
        elif isinstance(row, CatalogTopic):
            kind, part = "topics", ("topic", row.id)
        else:
            kind, part = "questions", ("topic", row.study_topic_id)
        written = _Written(kind, part, row.model_dump_json(exclude_defaults=True).encode())
        if request and (size + len(written.json) > MAX_REQUEST or len(topics) == MAX_TOPICS):
            yield request
            request, topics, size = [], set(), 0
        request.append(written)
        if part[0] == "topic":
            topics.add(part[1])
        size += len(written.json) + 1
    if request:
        yield request
