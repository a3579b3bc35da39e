"""When a training is due: the plain decision, and the sensor on a real instance and database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.bulk import copy_rows
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.orchestration.sensors.reviews import BATCH_TAG, MOST_RETRIES, Cursor, Observed, new_reviews, plan
from litgo_pipelines.rollout.trainings import Training, record_training

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litgo_pipelines_tests.orchestration.conftest import Location

State = Literal["running", "failed", "ended"] | None

TABLE: dict[str, tuple[Cursor, Observed, bool, Cursor]] = {
    "nothing yet": (Cursor(), Observed(0, 0, None), False, Cursor()),
    "one too few": (Cursor(), Observed(199, 0, None), False, Cursor()),
    "as many as wanted": (Cursor(), Observed(200, 0, None), True, Cursor(batch=200, attempts=1)),
    "far more": (Cursor(), Observed(950, 0, None), True, Cursor(batch=950, attempts=1)),
    "counted from the last training": (Cursor(), Observed(700, 600, None), False, Cursor()),
    "enough since the last training": (Cursor(), Observed(800, 600, None), True, Cursor(batch=800, attempts=1)),
    "under way": (Cursor(batch=200, attempts=1), Observed(900, 0, "running"), False, Cursor(batch=200, attempts=1)),
    "failed once": (Cursor(batch=200, attempts=1), Observed(210, 0, "failed"), True, Cursor(batch=200, attempts=2)),
    "failed three times": (Cursor(batch=200, attempts=3), Observed(210, 0, "failed"), True, Cursor(batch=200, attempts=4)),
    "failed four times": (Cursor(batch=200, attempts=4), Observed(210, 0, "failed"), False, Cursor(batch=200, attempts=4)),
    "failed four times, then a new batch": (
        Cursor(batch=200, attempts=4),
        Observed(400, 0, "failed"),
        True,
        Cursor(batch=400, attempts=1),
    ),
    "failed, and a person trained meanwhile": (
        Cursor(batch=200, attempts=1),
        Observed(230, 220, "failed"),
        False,
        Cursor(batch=200, attempts=1),
    ),
    "cancelled by a person": (Cursor(batch=200, attempts=1), Observed(210, 0, "ended"), False, Cursor(batch=200, attempts=1)),
    "cancelled, then a new batch": (Cursor(batch=200, attempts=1), Observed(400, 0, "ended"), True, Cursor(batch=400, attempts=1)),
    "succeeded": (Cursor(batch=200, attempts=1), Observed(399, 200, "ended"), False, Cursor(batch=200, attempts=1)),
    "succeeded, then a new batch": (Cursor(batch=200, attempts=1), Observed(400, 200, "ended"), True, Cursor(batch=400, attempts=1)),
    "its run never came to be": (Cursor(batch=200, attempts=1), Observed(210, 0, None), True, Cursor(batch=200, attempts=2)),
    "reviews were deleted": (Cursor(batch=900, attempts=1), Observed(100, 900, "ended"), False, Cursor(batch=900, attempts=1)),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_batch_of_reviews_starts_one_training_and_its_retries(what: str) -> None:
    """Once a batch, again after a failure and at most three times, never against a person's will."""
    cursor, observed, start, kept = TABLE[what]
    decision = plan(cursor, observed, 200)
    assert (decision.start, decision.cursor) == (start, kept)
    assert decision.reason


@given(
    st.integers(0, 1000),
    st.integers(0, 6),
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.sampled_from([None, "running", "failed", "ended"]),
    st.integers(1, 500),
)
def test_no_batch_is_ever_started_more_often_than_its_retries_allow(
    batch: int, attempts: int, reviews: int, trained: int, state: State, threshold: int
) -> None:
    """Each start has a key of its own: another batch, or one more attempt up to four."""
    cursor = Cursor(batch=batch, attempts=attempts)
    decision = plan(cursor, Observed(reviews, trained, state), threshold)
    if not decision.start:
        assert decision.cursor == cursor
        return
    assert state != "running"
    if decision.cursor.batch == batch:
        assert decision.cursor.attempts == attempts + 1 <= MOST_RETRIES + 1
    else:
        assert decision.cursor == Cursor(batch=reviews, attempts=1)
        assert reviews - max(trained, batch) >= threshold
    assert decision.cursor.run_key != cursor.run_key


class Reviews:
    """Adds reviews to a marketplace, each of a contract of its own."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.client, self.lawyer = uuid.uuid4(), uuid.uuid4()
        with self.engine.begin() as connection:
            connection.execute(tables.clients.insert(), {"id": self.client})
            connection.execute(tables.lawyers.insert(), {"id": self.lawyer, "name": "L", "primary_area": "civil"})

    def add(self, count: int, at: datetime | None = None) -> None:
        at = at or datetime.now(UTC) - timedelta(minutes=1)
        ids = [(uuid.uuid4(), uuid.uuid4(), uuid.uuid4()) for _ in range(count)]
        case = ("id", "client_id", "area", "urgency_h", "summary")
        contract = ("id", "case_id", "lawyer_id", "client_id", "status")
        review = ("id", "contract_id", "lawyer_id", "client_id", "rating", "outcome", "created_at")
        with self.engine.begin() as connection:
            copy_rows(connection, tables.cases, case, ((one, self.client, "civil", 24, "s") for one, _, _ in ids))
            copy_rows(connection, tables.contracts, contract, ((two, one, self.lawyer, self.client, "closed") for one, two, _ in ids))
            copy_rows(connection, tables.reviews, review, ((three, two, self.lawyer, self.client, 5, "won", at) for _, two, three in ids))

    def trained(self, reviews: int) -> None:
        training = Training(str(uuid.uuid4()), reviews, "f", "m", None, "insufficient data")
        record_training(self.engine, training, at=datetime.now(UTC))


@pytest.fixture
def reviews(location: Location, database_url: str) -> Iterator[Reviews]:
    location.database = database_url
    found = Reviews(database_url)
    yield found
    found.engine.dispose()


class Sensor:
    """Ticks as the daemon does: the cursor is kept, and a request whose key is new becomes a run."""

    def __init__(self, location: Location, threshold: int) -> None:
        self.location = location
        self.project = location.project(min_reviews_for_retrain=threshold)
        self.cursor: str | None = None
        self.keys: set[str] = set()

    def tick(self) -> dg.RunRequest | None:
        from litgo_pipelines.definitions import defs

        with dg.build_sensor_context(
            instance=self.location.instance,
            cursor=self.cursor,
            repository_def=defs.get_repository_def(),
            resources={"project": self.project},
        ) as context:
            found = new_reviews.evaluate_tick(context)
        self.cursor = found.cursor
        assert bool(found.run_requests) != bool(found.skip_message)
        if not found.run_requests:
            return None
        (request,) = found.run_requests
        assert request.run_key is not None
        assert request.run_key not in self.keys, "a key is for ever: Dagster would not start this run"
        self.keys.add(request.run_key)
        return request

    def run(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        from dagster._core.test_utils import create_run_for_test

        made: dg.DagsterRun = create_run_for_test(self.location.instance, "retrain_ranker", status=status, tags=dict(request.tags))
        return made


def test_the_sensor_asks_once_for_a_batch(location: Location, reviews: Reviews) -> None:
    """Below the threshold it skips; at it one run is asked for, tagged with its batch; while that is under way, none."""
    sensor = Sensor(location, 5)
    reviews.add(4)
    assert sensor.tick() is None
    reviews.add(1)
    request = sensor.tick()
    assert request is not None
    assert (request.run_key, request.tags[BATCH_TAG]) == ("reviews-5-attempt-1", "5")
    sensor.run(request, dg.DagsterRunStatus.STARTED)
    reviews.add(20)
    assert sensor.tick() is None


def test_a_failing_training_is_tried_four_times_and_then_left_until_new_reviews_come(location: Location, reviews: Reviews) -> None:
    """One run and three retries, each under a key of its own; then silence; a new batch starts anew."""
    sensor = Sensor(location, 5)
    reviews.add(5)
    for attempt in range(1, MOST_RETRIES + 2):
        request = sensor.tick()
        assert request is not None, attempt
        assert request.run_key == f"reviews-5-attempt-{attempt}"
        run = sensor.run(request, dg.DagsterRunStatus.STARTED)
        assert sensor.tick() is None
        location.instance.report_run_failed(run, "the power failed")
    for _ in range(3):
        assert sensor.tick() is None
    reviews.add(5)
    request = sensor.tick()
    assert request is not None
    assert request.run_key == "reviews-10-attempt-1"


def test_a_cancelled_training_is_not_forced_upon_anybody(location: Location, reviews: Reviews) -> None:
    """Whoever cancelled it meant it; the next batch counts anew."""
    sensor = Sensor(location, 5)
    reviews.add(5)
    request = sensor.tick()
    assert request is not None
    location.instance.report_run_canceled(sensor.run(request, dg.DagsterRunStatus.STARTED))
    assert sensor.tick() is None
    reviews.add(5)
    assert sensor.tick() is not None


def test_a_training_by_hand_uses_up_the_reviews(location: Location, reviews: Reviews) -> None:
    """What a person trained on starts no second run, and counts as the start of the next batch."""
    sensor = Sensor(location, 5)
    reviews.add(9)
    reviews.trained(9)
    assert sensor.tick() is None
    reviews.add(4)
    assert sensor.tick() is None
    reviews.add(1)
    assert sensor.tick() is not None


def test_reviews_of_the_future_do_not_count(location: Location, reviews: Reviews) -> None:
    """A review dated tomorrow is none yet."""
    reviews.add(5, datetime.now(UTC) + timedelta(days=1))
    assert Sensor(location, 5).tick() is None


@pytest.mark.parametrize("cursor", ["nonsense", "17", '{"batch": "many"}'])
def test_a_cursor_of_somebody_else_is_an_error_that_says_what_to_do(cursor: str, location: Location, reviews: Reviews) -> None:
    """It is not taken for a fresh start, which would train for nothing."""
    sensor = Sensor(location, 5)
    sensor.cursor = cursor
    with pytest.raises(ValueError, match="reset it in the UI"):
        sensor.tick()
