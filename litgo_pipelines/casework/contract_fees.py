"""How a contract pays its lawyer: the fee models there are, and what makes one usable. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litgo_pipelines.settings import LitgoError

MOST_PERCENT: Final = 50.0
MOST_MONEY: Final = 100_000_000.0
FEES: Final[dict[str, tuple[str, ...]]] = {
    "fixed": ("value",),
    "hourly": ("rate",),
    "success": ("percent",),
    "mixed": ("value", "percent"),
}
"""Fields of each type besides `type`: `value` and `rate` (an hour) in BRL, `percent` of what the client gains, at most `MOST_PERCENT`."""


class BadFees(LitgoError):
    """A fee model that no contract can be made of; the message says what is wrong with it."""


def checked(fee_model: Mapping[str, Any]) -> dict[str, Any]:
    """The fee model as it is stored: its type and exactly the fields of that type, as `{"type": "success", "percent": 20}`.

    Raises:
        BadFees: an unknown type, a field too many or too few, or an amount that cannot be.
    """
    kind = fee_model.get("type")
    if not isinstance(kind, str) or kind not in FEES:
        raise BadFees(f"the fee model's type must be one of {', '.join(FEES)}")
    wanted = FEES[kind]
    if set(fee_model) != {"type", *wanted}:
        raise BadFees(f"a fee model of type {kind} has exactly the fields type, {', '.join(wanted)}")
    return {"type": kind} | {name: _amount(name, fee_model[name]) for name in wanted}


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFees(f"{name} must be a number")
    most = MOST_PERCENT if name == "percent" else MOST_MONEY
    if not 0 < value <= most:
        raise BadFees(f"{name} must be above 0 and at most {most:,.0f}")
    if round(value, 2) != value:
        raise BadFees(f"{name} must have at most two decimals")
    return float(value)
