"""I4: the same answers, given live or uploaded by a viewer, leave the same; and I3 with both."""

from collections.abc import Callable, Iterator
from random import Random

import httpx
import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from api.app import create_app
from shared.config import Settings
from shared.db import make_engine
from tests.clients import Clock
from tests.factories import load, progress
from tests.histories import Runner, Sitting, histories


@pytest.fixture
def runner(
    serve: Callable[[Flask, Settings], httpx.Client], settings: Settings, clock: Clock
) -> Iterator[Runner]:
    patient = settings.model_copy(update={"store_deadline": 60.0})
    engine = make_engine(patient)
    load(engine)
    web = serve(create_app(patient, clock), patient)
    web.event_hooks = {}  # other tests hold answers against the document; here that would take half the time
    yield Runner(web, engine, clock)
    engine.dispose()


@pytest.mark.timeout(3600)  # for the profile `long`
@profile(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every play forgets the last
@given(histories())
def test_I4_the_same_answers_leave_the_same_live_and_uploaded(
    runner: Runner, made: tuple[int, list[Sitting], list[bool]]
) -> None:
    learner, history, mix = made
    live = runner.play(learner, history, [True] * len(history))
    assert runner.play(learner, history, [False] * len(history)) == live
    assert runner.play(learner, history, mix) == live


@pytest.mark.timeout(3600)  # for the profile `long`
@profile(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every play forgets the last
@given(histories(), st.randoms(use_true_random=False))
def test_I3_uploads_that_come_after_later_live_sessions_leave_the_same_progress(
    runner: Runner, made: tuple[int, list[Sitting], list[bool]], rng: Random
) -> None:
    learner, history, mix = made
    runner.play(learner, history, [True] * len(history))
    known = progress(runner.engine)
    assert runner.play_late(learner, history, mix, rng) == known
