"""Which price of load answers use: a recorded price is followed while the service runs, and what cannot be read is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from litgo_pipelines.casework.prices import PriceInForce, set_price
from litgo_pipelines_tests.serving.conftest import serving, wait_until

if TYPE_CHECKING:
    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace, Served


def put(marketplace: Marketplace, price: float) -> PriceInForce:
    """Set a price as a person would."""
    given: dict[str, Any] = {"evidence": None, "run_id": None, "at": datetime.now(UTC), "default": 0.5}
    with marketplace.engine.begin() as connection:
        return set_price(connection, price, actor="ana", reason="a test", **given)


def told(served: Served) -> tuple[float | None, int | None]:
    """Price and row as `GET /v1/model` tells them."""
    with served.client() as client:
        found = client.get("/v1/model").json()
    return found["equity_price"], found["price_id"]


def measured(served: Served) -> float:
    """The gauge of the price."""
    with served.client() as client:
        lines = client.get("/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("serving_equity_price ")]
    return float(value)


def busy_and_idle(marketplace: Marketplace) -> tuple[UUID, UUID]:
    """A lawyer with the better curriculum and an effective load of .4, and one without either."""
    (busy,), (idle,) = (marketplace.lawyers(1, capacity=10, cv_score=share) for share in (1.0, 0.0))
    for _ in range(20):
        marketplace.offer(marketplace.case(), busy)
    return busy, idle


def test_a_price_that_is_set_is_used_within_a_few_refreshes(served: Served, marketplace: Marketplace) -> None:
    """Answers after it take that price, which moves the busy lawyer, and are recorded with the price's row; nothing is restarted."""
    busy, idle = busy_and_idle(marketplace)
    body = {"case_id": str(marketplace.case())}
    wait_until(lambda: served.ask(body).json()["eligible"] == 2, 10, "lawyers are read")
    for price, best in ((0.0, busy), (2.0, idle), (0.125, busy)):
        found = put(marketplace, price)
        wait_until(lambda found=found: told(served) == (found.price, found.id), 10, "the price is followed")
        assert measured(served) == price
        answer = served.ask(body).json()
        assert answer["matches"][0]["lawyer_id"] == str(best)
        assert paid(answer) == pytest.approx({busy: price * 0.4, idle: 0.0})
        assert recorded(marketplace, answer) == (price, found.id)


def paid(answer: dict[str, Any]) -> dict[UUID, float]:
    """What each lawyer's load cost in an answer."""
    return {UUID(match["lawyer_id"]): match["equity_price"] for match in answer["matches"]}


def recorded(marketplace: Marketplace, answer: dict[str, Any]) -> tuple[float, int | None]:
    """Price and row as the request's record tells them."""
    ((*found,),) = marketplace.rows("SELECT equity_price, price_id FROM litgo.match_requests WHERE id = :id", id=answer["request_id"])
    return found[0], found[1]


def test_until_a_price_is_recorded_the_settings_say_it(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """Answers pay it, and their requests name no row."""
    busy, idle = busy_and_idle(marketplace)
    with serving(database_url, serving_settings.model_copy(update={"litgo_equity_price": 0.75})) as served:
        assert (told(served), measured(served)) == ((0.75, None), 0.75)
        answer = served.ask({"case_id": str(marketplace.case())}).json()
    assert paid(answer) == pytest.approx({busy: 0.3, idle: 0.0})
    assert recorded(marketplace, answer) == (0.75, None)


def test_while_prices_cannot_be_read_the_last_one_stays(served: Served, marketplace: Marketplace, as_owner: Callable[[str], None]) -> None:
    """Requests are answered at it, the failing readings are counted, and what was set meanwhile is followed afterwards."""
    marketplace.lawyers(2)
    body = {"case_id": str(marketplace.case())}
    first = put(marketplace, 0.6)
    wait_until(lambda: told(served) == (0.6, first.id), 10, "the price is followed")
    as_owner("REVOKE SELECT ON litgo.equity_prices FROM litgo_app")
    errors = served.app.state.service.metrics.market_errors
    wait_until(lambda: errors._value.get() > 0, 10, "a reading failed")
    assert told(served) == (0.6, first.id)
    assert recorded(marketplace, served.ask(body).json()) == (pytest.approx(0.6), first.id)
    as_owner("GRANT SELECT ON litgo.equity_prices TO litgo_app")
    second = put(marketplace, 0.7)
    wait_until(lambda: told(served) == (0.7, second.id), 10, "the price is followed again")


def test_nobody_is_matched_at_a_price_that_was_never_read(
    database_url: str, marketplace: Marketplace, serving_settings: Settings, as_owner: Callable[[str], None]
) -> None:
    """Before the first reading of prices a request is told to come again, whatever the settings say; no price is made up."""
    marketplace.lawyers(2)
    body = {"case_id": str(marketplace.case())}
    found = put(marketplace, 0.6)
    as_owner("REVOKE SELECT ON litgo.equity_prices FROM litgo_app")
    with serving(database_url, serving_settings, until_ready=False) as served:
        refused = served.ask(body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert told(served) == (None, None)
        assert math.isnan(measured(served))
        as_owner("GRANT SELECT ON litgo.equity_prices TO litgo_app")
        wait_until(lambda: served.ask(body).status_code == 200, 10, "the price is read")
        assert told(served) == (0.6, found.id)
