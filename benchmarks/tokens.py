"""P10, P11: uploads accepted with learners' tokens, compared with the shared token, by one process."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from benchmarks.accept import QUICK_REQUESTS, REQUESTS, UNBOUNDED, answered, latency
from benchmarks.client import Answer, Load, throughput
from benchmarks.figures import Figure, ratio
from benchmarks.servers import PROCFILE, Stores, serving
from benchmarks.workload import make_catalog
from shared.tokens import generate_key, mint, public_half

CONNECTIONS = 8
ROUNDS = 9
AUDIENCE = "benchmark"
UPLOADS_OF_A_TOKEN = 10  # the first is verified, the other nine hit the cache: 90 %


@dataclass
class Side:
    """The answers of each round, and the seconds of CPU that they took."""

    answers: list[list[Answer]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Send with the shared token and with a learner's token for every ten uploads, in turn."""
    requests = QUICK_REQUESTS if quick else REQUESTS
    key, keys = generate_key("EdDSA"), stores.directory / "viewer-keys.json"
    keys.write_text(json.dumps({"keys": [public_half(key)]}))
    settings = stores.settings(
        "tokens", viewer_token_keys=str(keys), viewer_token_audience=AUDIENCE, queue_limit=UNBOUNDED
    )
    own, shared = Side(), Side()
    with (
        stores.database("tokens"),
        stores.engine("tokens") as engine,
        stores.redis() as redis,
        serving(stores, settings, PROCFILE["web"]) as port,
    ):
        with engine.begin() as connection:
            make_catalog(connection)
        (web,) = (each for each in psutil.Process().children(recursive=True) if "api" in each.cmdline())
        for number in range(ROUNDS + 1):
            load = Load(port, (2 * number + 1) * requests, requests, CONNECTIONS)
            of_learners = load._replace(first=load.first + requests, tokens=_tokens(key, number, requests))
            loads = [(load, shared), (of_learners, own)]
            for each, side in loads if number % 2 else reversed(loads):
                before = sum(web.cpu_times()[:2])  # user and system
                side.answers.append(answered(each, 202))
                side.cpu.append(sum(web.cpu_times()[:2]) - before)
        redis.flushall()
    accepted = [throughput(answers) for answers in own.answers[1:]]  # the first warms up
    beside = [throughput(answers) for answers in shared.answers[1:]]
    return [
        ratio("P10", "accepted with learners' tokens ÷ with the shared one", accepted, beside, "≥ 0.95"),
        ratio(
            "P11",
            "CPU of the web process with learners' tokens ÷ with the shared one",
            own.cpu[1:],
            shared.cpu[1:],
            "≤ 1.05",
        ),
        Figure("tokens/own", "uploads accepted with learners' tokens", tuple(accepted), "/s"),
        latency("tokens/own p99", "99 % are accepted within, with learners' tokens", 0.99, own.answers[1:]),
        latency(
            "tokens/shared p99", "99 % are accepted within, with the shared token", 0.99, shared.answers[1:]
        ),
    ]


def _tokens(key: dict[str, Any], number: int, requests: int) -> tuple[str, ...]:
    """Return a token for each upload: ten uploads share a token; no earlier round had these learners."""
    now, each = datetime.now(UTC), requests // UPLOADS_OF_A_TOKEN
    made = [
        mint(key, learner, audience=AUDIENCE, issuer="", now=now, valid=timedelta(hours=1))
        for learner in range(1 + number * each, 1 + (number + 1) * each)
    ]
    return tuple(made * UPLOADS_OF_A_TOKEN)
