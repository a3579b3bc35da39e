"""What must hold of an expression because of where it stands, beyond what holds of every one.

The condition of an alert decides, and few events decide nothing; what a dashboard shows divides by nothing that may be 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import add, mul, sub, truediv
from typing import Final

import promql_parser as ql

from litgo_pipelines.observability.faults import Fault, written
from litgo_pipelines.observability.series import (
    TARGET,
    Names,
    Selected,
    anywhere,
    bare,
    children,
    counts_events,
    divides_events,
    everything,
    fits,
    is_rate,
    labels_of,
    made_of,
    name_of,
    selected,
    walk,
)

_ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {"+": add, "-": sub, "*": mul, "/": truediv}
_SETS: Final = frozenset({"and", "or", "unless"})
_TURNED: Final[Mapping[str, str]] = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}
_NEVER_ZERO: Final = re.compile(r".*_(size|total|limit)_bytes|.*_(limit|threshold|weight)")
"""Names of gauges that are sizes and limits."""
_AGGREGATES: Final = frozenset({"sum", "min", "max", "avg", "quantile", "topk", "bottomk"})
_MAY_FALL: Final = frozenset({"delta", "idelta", "deriv", "predict_linear"})

_HOW_IT_ENDED: Final = frozenset({"status", "status_code", "code", "outcome", "mode", "result"})
_ERRORS: Final = re.compile(r"err|fail|timeout|retr|fallback|expired|declined|canceled|unknown|broken|malformed|overtaken|[45](\d\d|xx)")
_WELL: Final = re.compile(r"ok|success|succeeded|done|sent|delivered|primary|interested|accepted|won|settled|[123](\d\d|xx)")
_ENDINGS: Final = (
    *("200", "201", "204", "301", "302", "304", "400", "401", "403", "404", "409", "422", "429", "500", "502", "503", "504"),
    *("1xx", "2xx", "3xx", "4xx", "5xx", "http_5xx", "ok", "success", "error", "failure", "failed", "timeout"),
)
"""What such a label usually is, for labels of which the values are not known."""


def check_condition(node: ql.Expr, names: Names) -> Iterator[Fault]:
    """What is wrong with the condition of an alert, apart from what would be wrong with any expression."""
    if not _decides(node, names):
        yield Fault(
            "always-fires",
            written(node),
            "no comparison decides what it gives, and an alert fires for whatever is there, be it 0",
            "... > 0 or ... == 1 (without bool), absent(...), or what must be missing behind unless",
        )
    if any(True for _ in _unguarded(node, names, (), {})):
        yield Fault(
            "ratio-without-guard",
            written(node),
            "it is a share, and where little happens one event is a large share",
            "(...) and on (...) (sum by (...) (increase(..._total[1h])) >= 20), of the metric and labels that it is a share of",
        )
    for one, known in everything(node, names):
        if isinstance(one, ql.BinaryExpr) and _compares(one):
            yield from _bare_rate(one, known)


def check_divisions(node: ql.Expr, names: Names) -> Iterator[Fault]:
    """Each division of the expression itself by what may be 0; what recording rules divide is theirs."""
    for one in walk(node):
        if isinstance(one, ql.BinaryExpr) and str(one.op) == "/" and not _is_never_zero(one.rhs, names):
            yield Fault(
                "ratio-without-guard",
                written(one),
                f"{written(one.rhs)} may be 0, and what is divided by it is then no number or infinite",
                "... / (x > 0), (x >= n) or clamp_min(x, 1), or a recorded ratio",
            )


def _is_never_zero(node: ql.Expr, names: Names) -> bool:
    """Whether it has no result, or one that is not 0."""
    if (value := _constant(node)) is not None:
        return value != 0
    match bare(node):
        case ql.VectorSelector() as one:
            name = name_of(one) or ""
            made = list(names.sources(name))
            return _NEVER_ZERO.fullmatch(name) is not None or (bool(made) and all(_is_never_zero(each, rest) for each, rest in made))
        case ql.BinaryExpr() as both:
            return _both_never_zero(both, names)
        case ql.AggregateExpr() as aggregate:
            return str(aggregate.op) in ("count", "group") or (str(aggregate.op) in _AGGREGATES and _is_never_zero(aggregate.expr, names))
        case ql.Call() as call if call.func.name in ("clamp_min", "clamp"):
            return (_constant(call.args[1]) or 0) > 0
        case ql.Call() as call if call.func.name in ("scalar", "abs", "sort", "sort_desc", "label_replace", "label_join"):
            return _is_never_zero(call.args[0], names)
        case _:
            return False


def _both_never_zero(both: ql.BinaryExpr, names: Names) -> bool:
    op, left, right = str(both.op), both.lhs, both.rhs
    if _compares(both):
        limited = _limited(both)
        return (limited is not None and _excludes_zero(*limited[1:])) or _is_never_zero(left if limited is None else limited[0], names)
    if op in ("and", "unless"):
        guard = bare(right)
        beside = op == "and" and isinstance(guard, ql.BinaryExpr) and _compares(guard) and str(bare(guard.lhs)) == str(bare(left))
        return _is_never_zero(left, names) or (beside and _is_never_zero(guard, names))
    if op == "+":
        # Two parts of which neither is below 0 are 0 only where both are.
        parts = ((left, right), (right, left))
        return any((_constant(one) or 0) > 0 and _is_never_negative(other, names) for one, other in parts)
    if op == "-":
        # An objective of 100 % would leave nothing to divide by; who writes one sees it.
        return _is_made_of_numbers(left, names) and _is_made_of_numbers(right, names)
    return op in ("or", "*", "/") and _is_never_zero(left, names) and _is_never_zero(right, names)


def _excludes_zero(op: str, limit: float) -> bool:
    """Whether 0 does not compare so with a number that is not negative."""
    return (op == ">" and limit >= 0) or (op == "!=" and limit == 0) or (op in (">=", "==") and limit > 0)


def _is_made_of_numbers(node: ql.Expr, names: Names) -> bool:
    """Whether it is a number, or what recording rules make of numbers alone."""
    match bare(node):
        case ql.VectorSelector() as one:
            made = list(names.sources(name_of(one) or ""))
            return bool(made) and all(_is_made_of_numbers(each, rest) for each, rest in made)
        case other:
            return _constant(other) is not None


def _compares(both: ql.BinaryExpr) -> bool:
    """Whether it leaves only what fits; with `bool` it leaves all."""
    return str(both.op) in _TURNED and not _is_bool(both)


def _is_bool(both: ql.BinaryExpr) -> bool:
    return both.modifier is not None and both.modifier.return_bool


def _decides(node: ql.Expr, names: Names) -> bool:
    """Whether values, or that something is missing, decide whether there is a result."""
    match bare(node):
        case ql.BinaryExpr() as both:
            return _sides_decide(both, names)
        case ql.VectorSelector() as one:
            name = name_of(one) or ""
            if name in names.recorded:
                return all(_decides(made, rest) for made, rest in names.sources(name))
            # ALERTS is there only while one fires; of a name that is not known nothing is known.
            return name.startswith("ALERTS") or names.find(name) is None
        case ql.Call() as call if call.func.name in ("absent", "absent_over_time"):
            return True
        case ql.Call() as call if call.func.name in ("vector", "scalar"):
            return False
        case other:
            return any(_decides(child, names) for child in children(other))


def _sides_decide(both: ql.BinaryExpr, names: Names) -> bool:
    op, left, right = str(both.op), both.lhs, both.rhs
    if op == "unless" or (_compares(both) and not _always_holds(both, names)):
        return True
    if op == "or":
        return _decides(left, names) and _decides(right, names)
    return _decides(left, names) or (_decides(right, names) and not (op == "/" and _is_above_zero(right)))


def _is_above_zero(node: ql.Expr) -> bool:
    """Whether it only keeps a division from dividing by nothing."""
    match bare(node):
        case ql.BinaryExpr() as both:
            return str(both.op) in (">", "!=") and _constant(both.rhs) == 0
        case _:
            return False


def _always_holds(both: ql.BinaryExpr, names: Names) -> bool:
    """Whether a comparison leaves out nothing: of something with itself, of numbers, or of what is never below 0."""
    if str(both.lhs) == str(both.rhs):
        return True
    limited = _limited(both)
    if limited is None:
        return False
    volume, op, limit = limited
    if _constant(volume) is not None:
        return True
    holds_from = limit <= 0 if op == ">=" else op in (">", "!=") and limit < 0
    return holds_from and _is_never_negative(volume, names)


def _is_never_negative(node: ql.Expr, names: Names) -> bool:
    match bare(node):
        case ql.BinaryExpr() as both if str(both.op) in _TURNED and _is_bool(both):
            return True
        case other:
            # A share of nothing is no number, which no comparison leaves.
            return counts_events(other, names) and not divides_events(other, names) and not anywhere(other, names, _subtracts)


def _subtracts(node: ql.Expr, _names: Names) -> bool:
    match node:
        case ql.BinaryExpr():
            return str(node.op) == "-"
        case ql.Call():
            return node.func.name in _MAY_FALL
        case _:
            return isinstance(node, ql.UnaryExpr)


def _limited(both: ql.BinaryExpr) -> tuple[ql.Expr, str, float] | None:
    """What a comparison compares with a number, how, and the number, as if it were written in this order; None without a number."""
    if (limit := _constant(both.rhs)) is not None:
        return both.lhs, str(both.op), limit
    limit = _constant(both.lhs)
    return None if limit is None else (both.rhs, _TURNED[str(both.op)], limit)


def _constant(node: ql.Expr) -> float | None:
    """The number that an expression comes to where it is made of numbers alone."""
    match bare(node):
        case ql.NumberLiteral() as number:
            return number.val
        case ql.UnaryExpr() as unary:
            value = _constant(unary.expr)
            return None if value is None else -value
        case ql.Call() as call if call.func.name in ("vector", "scalar"):
            return _constant(call.args[0])
        case ql.BinaryExpr() as both if str(both.op) in _ARITHMETIC:
            left, right = _constant(both.lhs), _constant(both.rhs)
            if left is None or right is None or (str(both.op) == "/" and right == 0):
                return None
            return _ARITHMETIC[str(both.op)](left, right)
        case _:
            return None


@dataclass(frozen=True)
class _Volume:
    """A number of events.

    Attributes:
        made_of: the series that are counted.
        labels: by which it is counted; None where that is not known.
    """

    made_of: tuple[Selected, ...]
    labels: frozenset[str] | None

    def is_at_most(self, other: _Volume) -> bool:
        """Whether it counts a metric of the other, no more of it, and no more coarsely."""
        if self.labels is not None and other.labels is not None and not other.labels - TARGET <= self.labels:
            return False
        return any(mine.is_within(theirs) for mine in self.made_of for theirs in other.made_of)


def _volume(node: ql.Expr, names: Names, pinned: Mapping[str, str]) -> _Volume:
    return _Volume(tuple(selected(node, names, pinned)), labels_of(node, names))


def _unguarded(node: ql.Expr, names: Names, guards: tuple[_Volume, ...], pinned: Mapping[str, str]) -> Iterator[ql.Expr]:
    """Each share of events, also within recording rules, beside which no minimum of these events stands.

    Args:
        guards: the volumes of which there is a minimum beside it.
        pinned: labels that are fixed from outside, for what recording rules add.
    """
    match bare(node):
        case ql.BinaryExpr() as both if str(both.op) in _SETS:
            left, right = guards, guards
            if str(both.op) != "or":
                left = guards + _minimums(both.rhs, names, enough=str(both.op) == "and")
            if str(both.op) == "and":
                right = guards + _minimums(both.lhs, names, enough=True)
            yield from _unguarded(both.lhs, names, left, pinned)
            yield from _unguarded(both.rhs, names, right, pinned)
        case ql.VectorSelector() as one:
            for made, rest, fixed in made_of(one, names, pinned):
                yield from _unguarded(made, rest, guards, fixed)
        case other:
            wholes = _wholes(other, names)
            beside = guards + tuple(least for whole in wholes for least in _minimums(whole, names, enough=True))
            if wholes and not any(least.is_at_most(_volume(whole, names, pinned)) for least in beside for whole in wholes):
                yield other
            for child in children(other):
                yield from _unguarded(child, names, guards, pinned)


def _wholes(node: ql.Expr, names: Names) -> list[ql.Expr]:
    """What an expression is a share of, where it is a share of events; a minimum of any of them is a guard."""
    if not isinstance(node, ql.BinaryExpr):
        return []
    if str(node.op) == "/":
        return [node.rhs] if counts_events(node.rhs, names) else []
    return _compared_wholes(node, names) if str(node.op) in (">", ">=", "<", "<=") else []


def _compared_wholes(both: ql.BinaryExpr, names: Names) -> list[ql.Expr]:
    """The same for a comparison that is a share in disguise: `errors > 0.1 * all`, or `errors - 0.1 * all > 0`."""
    sides = [both.lhs, both.rhs]
    limited = _limited(both)
    if limited is not None:
        less = bare(limited[0])
        if limited[2] != 0 or not isinstance(less, ql.BinaryExpr) or str(less.op) != "-":
            return []
        sides = [less.lhs, less.rhs]
        if not any(map(_is_scaled, sides)):
            return []
    if any(divides_events(side, names) or _is_quantile(side, names) for side in sides):
        return []
    events = [side for side in sides if counts_events(side, names)]
    # What stands still is compared with a flow and a number: few events make nothing large.
    return [] if len(events) == 1 and _has_summand(events[0]) else events


def _is_scaled(node: ql.Expr) -> bool:
    match bare(node):
        case ql.BinaryExpr() as both:
            return str(both.op) in ("*", "/") and (_constant(both.lhs) is not None or _constant(both.rhs) is not None)
        case _:
            return False


def _has_summand(node: ql.Expr) -> bool:
    match bare(node):
        case ql.BinaryExpr() as both:
            return str(both.op) == "+" and (_constant(both.lhs) is not None or _constant(both.rhs) is not None)
        case _:
            return False


def _is_quantile(node: ql.Expr, names: Names) -> bool:
    return anywhere(node, names, lambda one, _: isinstance(one, ql.Call) and one.func.name == "histogram_quantile")


def _minimums(node: ql.Expr, names: Names, *, enough: bool) -> tuple[_Volume, ...]:
    """The volumes of which it asks for a minimum (`enough`) or, behind `unless`, for less than one."""
    match bare(node):
        case ql.BinaryExpr() as both if str(both.op) == ("and" if enough else "or"):
            return _minimums(both.lhs, names, enough=enough) + _minimums(both.rhs, names, enough=enough)
        case ql.BinaryExpr() as both if _compares(both) and (limited := _limited(both)) is not None:
            volume, op, least = limited
            if op not in ((">", ">=") if enough else ("<", "<=")) or divides_events(volume, names) or not counts_events(volume, names):
                return ()
            # More than no event is any event.
            is_minimum = least >= 1 or (least > 0 and anywhere(volume, names, _is_per_second))
            return (_volume(volume, names, {}),) if is_minimum else ()
        case _:
            return ()


def _is_per_second(node: ql.Expr, names: Names) -> bool:
    return is_rate(node, names) and isinstance(node, ql.Call) and node.func.name != "increase"


def _bare_rate(both: ql.BinaryExpr, names: Names) -> Iterator[Fault]:
    limited = _limited(both)
    if limited is None or limited[2] == 0 or divides_events(both, names) or _is_quantile(both, names):
        return
    if anywhere(limited[0], names, _is_rate_of_errors):
        yield Fault(
            "bare-rate",
            written(both),
            f"{limited[2]:g} a second is much or little depending on how many there are",
            "a ratio: sum(rate(errors[5m])) / sum(rate(all[5m])) > 0.1 and sum(increase(all[5m])) >= 20",
        )


def _is_rate_of_errors(node: ql.Expr, names: Names) -> bool:
    return _is_per_second(node, names) and any(_tells_of_errors(one, names) for one in walk(node) if isinstance(one, ql.VectorSelector))


def _tells_of_errors(selector: ql.VectorSelector, names: Names) -> bool:
    name = name_of(selector) or ""
    series = names.find(name)
    values = series.values if series else {}
    asked = [one for one in selector.matchers.matchers if one.name in _HOW_IT_ENDED]
    return bool(_ERRORS.search(name)) or any(_picks_errors(one, values.get(one.name, frozenset())) for one in asked)


def _picks_errors(asked: ql.Matcher, known: frozenset[str]) -> bool:
    """Whether a matcher asks for what ended badly alone, or leaves out what ended well."""
    if asked.op == ql.MatchOp.Equal:
        return _ERRORS.search(asked.value) is not None
    if asked.op == ql.MatchOp.NotEqual:
        return _WELL.fullmatch(asked.value) is not None
    leaves_out = asked.op == ql.MatchOp.NotRe
    # What leaves out may be written for values that the label never has.
    endings = {*(() if known and not leaves_out else _ENDINGS), *known, *asked.value.split("|")}
    named = [one for one in endings if fits(asked.value, one)]
    well = any(_WELL.fullmatch(one) for one in named)
    return well if leaves_out else not well and any(_ERRORS.search(one) for one in named)
