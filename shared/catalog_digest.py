"""The digests of a catalog's topics, computed from a file; `catalog_sync` computes them from the tables."""

import hashlib
import json
import struct
from array import array
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from typing import Any, NamedTuple

from shared import catalog_form
from shared.errors import CatalogError

# Stands for the digest of a topic that does not exist.
NEW = "new"


class Digest(NamedTuple):
    """A topic, how many of its questions are not retired, and a hash of the topic and these questions."""

    topic_id: int
    questions: int
    digest: str


class Index:
    """The topics of a file and their digests, collected part by part, in about 40 bytes for each edition.

    While `check` runs, twice as much memory is needed.

    `asked`: the ids of each topic's questions that are not retired. A question with several entries in the
    file appears several times.
    """

    def __init__(self, *, now: datetime) -> None:
        self.topics: dict[int, catalog_form.CatalogTopic] = {}
        self.asked: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
        self._hashes: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._now = now

    def add(self, part: catalog_form.CatalogFile) -> None:
        """Add topics and questions; raise CatalogError for a topic with two entries that differ."""
        for topic in part.topics:
            if self.topics.setdefault(topic.id, topic) != topic:
                raise CatalogError(f"topic {topic.id}: has two entries that differ")
        for question in part.questions:
            asked = self.asked[question.study_topic_id]
            if question.retired_at is None or question.retired_at > self._now:
                asked.append(question.id)
                for edition in question.editions:
                    self._hashes[question.study_topic_id] += _edition_hash(question, edition)

    def check(self) -> None:
        """Raise CatalogError for a question of two topics, or of a topic that has no entry in the file."""
        numbers = sorted(chain.from_iterable(map(set, self.asked.values())))
        if twice := next((one for one, other in pairwise(numbers) if one == other), None):
            raise CatalogError(f"question {twice}: has entries in two topics")
        if missing := sorted(self.asked.keys() - self.topics.keys()):
            topics = ", ".join(map(str, missing))
            raise CatalogError(
                f"`topics` has no entry for topic {topics}, although the file has questions of it: add one"
            )

    def digests(self) -> Iterator[Digest]:
        """Yield the digests of the topics; a server with equal topics and questions has equal digests."""
        for topic in self.topics.values():
            exam_on = topic.exam_on and topic.exam_on.isoformat()
            hashes = bytes(self._hashes.get(topic.id, b""))
            parts = sorted(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))
            line = _hash([topic.id, topic.user_id, topic.name, exam_on])
            digest = hashlib.sha256(b"".join([line, *parts])).hexdigest()
            yield Digest(topic.id, len({*self.asked.get(topic.id, ())}), digest)


HASH_BYTES = 32
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _edition_hash(question: catalog_form.CatalogQuestion, edition: catalog_form.CatalogEdition) -> bytes:
    frequency = question.exam_frequency
    return _hash(
        [
            question.id,
            question.subject,
            # -0.0 + 0.0 is 0.0: for Postgres, -0.0 and 0.0 are equal, so no load would change -0.0 into 0.0.
            None if frequency is None else struct.pack(">d", frequency + 0.0).hex(),
            _microseconds(question.retired_at),
            edition.pub_id,
            edition.choices,
            edition.correct_choice,
            _microseconds(edition.published_at),
        ]
    )


def _hash(values: list[Any]) -> bytes:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).digest()


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)
