"""Expressions of PromQL checked against the metrics there are. Where expressions stand, in rules and dashboards, is known to `lint`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Final

import promql_parser as ql

from litgo_pipelines.observability.conditions import check_condition, check_divisions
from litgo_pipelines.observability.faults import RULES, Fault, shortened, written
from litgo_pipelines.observability.series import (
    FOREIGN,
    TARGET,
    Names,
    Series,
    bare,
    children,
    fits,
    is_vector,
    keeps,
    labels_of,
    name_of,
    rated_buckets,
    selected,
)
from litgo_pipelines.observability.templates import VARIABLE

SCRAPE_INTERVAL: Final = timedelta(seconds=15)
SHORTEST_WINDOW: Final = 4 * SCRAPE_INTERVAL
"""Below it a missed scrape or two leave a rate without the two samples that it needs."""

_LONGEST: Final = 4_000
_RATES: Final = frozenset({"rate", "irate", "increase"})
_OF_GAUGES: Final = frozenset({"delta", "idelta", "deriv", "predict_linear"})
_OF_SAMPLES: Final = frozenset({"changes", "resets", "count_over_time", "present_over_time", "absent_over_time"})
_OF_PRESENCE: Final = frozenset({"absent", "timestamp", "count", "group"})
_SETS: Final = frozenset({"and", "or", "unless"})
_EXCEPTION: Final = re.compile(r"#\s*lint:(?P<said>[^\n]*)")
_EXCEPTED: Final = re.compile(r"\s*(?P<rule>[\w-]+)\s+because\s+\S.*")


def check(expression: str, names: Names, *, alert: bool = False, shown: bool = False) -> list[Fault]:
    """All that is wrong with an expression, in the order in which it is written; whatever the text, nothing is raised.

    A fault is excepted by a comment within the expression: `# lint: RULE because REASON`.

    Args:
        alert: whether it is the condition of an alert, for which more holds.
        shown: whether a dashboard shows it, where a division by 0 would show.
    """
    parsed = parse(expression)
    if isinstance(parsed, Fault):
        return [parsed]
    try:
        placed = [*(check_condition(parsed, names) if alert else ()), *(check_divisions(parsed, names) if shown else ())]
        found = list(dict.fromkeys([*_below(parsed, names, _Use()), *placed]))
    except RecursionError:
        return [_unparsed(expression, "it is nested too deep")]
    return _without_exceptions(expression, found)


def parse(expression: str) -> ql.Expr | Fault:
    """The tree of an expression, or why there is none."""
    if len(expression) > _LONGEST:
        return _unparsed(expression, f"it is longer than {_LONGEST:,} characters")
    try:
        return ql.parse(expression)
    except ValueError as error:
        return _unparsed(expression, str(error))


def without_variables(expression: str) -> str:
    """An expression of Grafana with a value in place of each variable: windows in brackets, numbers, texts."""
    text = re.sub(r"\$\{__rate_interval\}|\$__rate_interval\b", "5m", expression)
    text = re.sub(r"\$\{__range\}|\$__range\b", "1h", text)
    # It may be as short as one scrape.
    text = re.sub(r"\$\{__interval\}|\$__interval\b", f"{SCRAPE_INTERVAL.seconds}s", text)
    text = re.sub(r"\$\{?__(interval_ms|range_s|range_ms|from|to)\b\}?", "60", text)
    text = re.sub(r"\[\s*(\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})\s*([\]:])", r"[5m\2", text)
    return re.sub(r"\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*(:\w+)?\}|\[\[\w+\]\]", VARIABLE, text)


def check_label(label: str, names: Names, expression: str, where: str, added: frozenset[str] = frozenset()) -> Fault | None:
    """What is wrong with a text that shows a label of an expression's result; None where the result bears it, or may.

    Args:
        added: labels that the rule itself adds, after its texts were made.
    """
    parsed = parse(expression)
    try:
        labels = None if isinstance(parsed, Fault) else labels_of(parsed, names)
    except RecursionError:
        return None
    if label in added and label not in (labels or ()):
        wrong = f"the rule itself adds {label}, and its texts see only what the expression bears: it is shown as nothing"
        return Fault("unknown-label", where, wrong, f"the value of {label} itself")
    return None if labels is None or label in labels else _unknown_label(label, labels, where)


@dataclass(frozen=True)
class _Use:
    """What becomes of a value: whether only its being there counts, and whether a quantile is made of it."""

    presence: bool = False
    quantile: bool = False


def _below(node: ql.Expr, names: Names, use: _Use) -> Iterator[Fault]:
    match node:
        case ql.VectorSelector():
            yield from _selector(node, names)
            series = names.find(name_of(node) or "")
            if series is not None and not use.presence:
                yield from _unrated(node, series, use)
        case ql.Call():
            yield from _call(node, names, use)
        case ql.AggregateExpr():
            yield from _aggregate(node, names, use)
        case ql.BinaryExpr():
            yield from _both(node, names, use)
        case ql.MatrixSelector():
            yield from _selector(node.vector_selector, names)
        case _:
            for child in children(node):
                yield from _below(child, names, use)


def _selector(node: ql.VectorSelector, names: Names) -> Iterator[Fault]:
    name, asked = name_of(node), node.matchers.matchers
    if node.matchers.or_matchers:
        yield Fault("parse", written(node), "Prometheus knows no `or` between matchers", 'one matcher with all values: status=~"a|b"')
        return
    if name is None:
        yield Fault("unknown-metric", written(node), "it names no metric", "the metric's name in front of the braces")
        return
    series = names.find(name)
    if series is None:
        yield _unknown_metric(name, names)
        return
    for one in asked:
        if one.name == "__name__" or VARIABLE in one.name:
            continue
        if series.labels is not None and one.name not in series.labels:
            yield _unknown_label(one.name, series.labels, written(node))
        elif one.name in series.values:
            yield from _value(node, one, series.values[one.name])


def _unknown_metric(name: str, names: Names) -> Fault:
    if f"{name}_bucket" in names.exported:
        return Fault("unknown-metric", name, f"{name} is a histogram", f"{name}_bucket, {name}_sum or {name}_count")
    near = get_close_matches(name, [*names.exported, *names.recorded, *FOREIGN], n=1, cutoff=0.7)
    hint = f"{near[0]}, if that is meant" if near else "a metric that `litgo metrics list` shows, or a recording rule"
    return Fault("unknown-metric", name, f"nothing exports or records {name}", hint)


def _unknown_label(label: str, known: frozenset[str], where: str) -> Fault:
    listed = ", ".join(sorted(known)) or "no label"
    near = get_close_matches(label, known, n=1)
    return Fault("unknown-label", where, f"there is no label {label}", near[0] if near else f"one of: {listed}" if known else listed)


def _value(node: ql.VectorSelector, asked: ql.Matcher, known: frozenset[str]) -> Iterator[Fault]:
    if VARIABLE in asked.value:
        return
    exact = asked.op in (ql.MatchOp.Equal, ql.MatchOp.NotEqual)
    # An alternative that is a plain word must be a value by itself, so that a misspelt one shows among right ones.
    wanted = [asked.value] if exact else asked.value.split("|") if re.fullmatch(r"[\w|]+", asked.value) else []
    strange = [one for one in wanted if one not in known]
    if not exact and not wanted and not any(fits(asked.value, one) for one in known):
        strange = [asked.value]
    for one in strange:
        said = ", ".join(sorted(known))
        yield Fault("impossible-value", written(node), f"{asked.name} is never {one!r}", f"one of: {said}")


def _unrated(node: ql.VectorSelector, series: Series, use: _Use) -> Iterator[Fault]:
    name = name_of(node)
    if series.kind == "bucket" and use.quantile:
        yield Fault(
            "quantile",
            written(node),
            f"{name} counts from the beginning of time: a quantile of it hardly moves",
            f"histogram_quantile(0.95, sum by (le) (rate({written(node)}[5m])))",
        )
    elif series.kind in ("counter", "bucket"):
        yield Fault(
            "counter-without-rate",
            written(node),
            f"{name} only ever grows, so its value says nothing by itself",
            f"rate({written(node)}[5m]), or increase(...) for a number of events",
        )


def _call(node: ql.Call, names: Names, use: _Use) -> Iterator[Fault]:
    name = node.func.name
    if name == "histogram_quantile":
        yield from _quantile(node, names)
        return
    if name in ("label_replace", "label_join"):
        yield from _label_sources(node, names)
    for arg in node.args:
        if isinstance(arg, ql.MatrixSelector):
            yield from _selector(arg.vector_selector, names)
            yield from _range(node, arg.vector_selector, arg.range, names)
        elif isinstance(arg, ql.SubqueryExpr):
            yield from _subquery(node, arg, names)
        else:
            yield from _below(arg, names, _Use(use.presence or name in _OF_PRESENCE, use.quantile))


def _range(node: ql.Call, selector: ql.VectorSelector, window: timedelta | None, names: Names) -> Iterator[Fault]:
    name, series = node.func.name, names.find(name_of(selector) or "")
    if name in _RATES | _OF_GAUGES and window is not None and window < SHORTEST_WINDOW:
        yield Fault(
            "short-window",
            written(node),
            f"a window below {SHORTEST_WINDOW.seconds} s (4 scrapes) is often empty",
            f"[{SHORTEST_WINDOW.seconds}s] or longer; [$__rate_interval] in Grafana",
        )
    if series is None:
        return
    counts = series.kind in ("counter", "bucket")
    if name in _RATES and not counts:
        what = "a recording rule: rate goes first, then sums" if series.kind == "recorded" else "a gauge, which may fall"
        yield Fault("rate-of-gauge", written(node), f"{name_of(selector)} is {what}", f"delta(...) or deriv(...) of a gauge, not {name}")
    if counts and name not in _RATES | _OF_SAMPLES:
        yield Fault(
            "counter-without-rate",
            written(node),
            f"{name_of(selector)} only ever grows, and begins anew when its exporter does: {name} is for gauges",
            f"rate({written(selector)}[5m]) or increase(...)",
        )


def _subquery(node: ql.Call, below: ql.SubqueryExpr, names: Names) -> Iterator[Fault]:
    inner = bare(below.expr)
    if isinstance(inner, ql.VectorSelector):
        yield from _selector(inner, names)
        yield from _range(node, inner, below.range, names)
        return
    if node.func.name in _RATES:
        yield Fault(
            "rate-of-gauge", written(node), "what a subquery computes is no counter", f"{node.func.name}(metric[5m]) first, then the rest"
        )
    yield from _below(inner, names, _Use(presence=node.func.name in _OF_SAMPLES))


def _quantile(node: ql.Call, names: Names) -> Iterator[Fault]:
    level, below = node.args
    if isinstance(level, ql.NumberLiteral) and not 0 <= level.val <= 1:
        yield Fault(
            "quantile", written(node), f"a quantile is between 0 and 1, not {level.val:g}", f"{level.val / 100:g}, if percent are meant"
        )
    found = list(_below(below, names, _Use(quantile=True)))
    yield from found
    if any(one.rule in ("quantile", "unknown-metric") for one in found):
        return
    if not rated_buckets(below, names):
        yield Fault(
            "quantile",
            written(node),
            "it is not made of rates of a histogram's buckets",
            "histogram_quantile(0.95, sum by (le) (rate(..._bucket[5m])))",
        )
    labels = labels_of(below, names)
    if labels is not None and "le" not in labels:
        yield Fault(
            "quantile", written(node), "the aggregation drops le, the bounds of the buckets", "sum by (le, ...) (rate(..._bucket[5m]))"
        )


def _label_sources(node: ql.Call, names: Names) -> Iterator[Fault]:
    labels = labels_of(node.args[0], names)
    sources = node.args[3:4] if node.func.name == "label_replace" else node.args[3:]
    for source in sources:
        if isinstance(source, ql.StringLiteral) and source.val and labels is not None and source.val not in labels:
            yield _unknown_label(source.val, labels, written(node))


def _aggregate(node: ql.AggregateExpr, names: Names, use: _Use) -> Iterator[Fault]:
    if isinstance(node.param, ql.Expr):
        yield from _below(node.param, names, _Use())
    yield from _below(node.expr, names, _Use(use.presence or str(node.op) in _OF_PRESENCE, use.quantile))
    labels = labels_of(node.expr, names)
    if node.modifier is not None and labels is not None:
        yield from (_unknown_label(one, labels, written(node)) for one in _strange(node.modifier.labels, labels))


def _strange(asked: Sequence[str], labels: frozenset[str]) -> list[str]:
    return [one for one in asked if one not in labels and VARIABLE not in one]


def _both(node: ql.BinaryExpr, names: Names, use: _Use) -> Iterator[Fault]:
    presence = str(node.op) in ("and", "unless")
    yield from _below(node.lhs, names, use)
    yield from _below(node.rhs, names, _Use(use.presence or (presence and isinstance(bare(node.rhs), ql.VectorSelector)), use.quantile))
    if is_vector(node.lhs) and is_vector(node.rhs):
        yield from _matching(node, labels_of(node.lhs, names), labels_of(node.rhs, names))
        if str(node.op) not in _SETS:
            yield from _one_sided(node, names)


def _one_sided(node: ql.BinaryExpr, names: Names) -> Iterator[Fault]:
    """Sides of one metric that are matched by a label that only one of them fixes: each meets itself, or nothing."""
    asked = {label for side in (node.lhs, node.rhs) for one in selected(side, names) for label in one.asked}
    for label in sorted(asked):
        if _is_matched_by(node, label) and _is_fixed_apart(label, node, names):
            yield Fault(
                "one-sided-filter",
                written(node),
                f"both sides are of one metric and matched by {label}, which they fix differently: each series meets itself, or nothing",
                f"sum(...) {node.op} sum(...), or sums by the other labels",
            )


def _is_fixed_apart(label: str, node: ql.BinaryExpr, names: Names) -> bool:
    """Whether both sides keep the label, and only one asks for it, or each otherwise, of the same metric, window and moment."""
    if not keeps(node.lhs, label, names) or not keeps(node.rhs, label, names):
        return False
    left, right = (list(selected(side, names, keeping=label)) for side in (node.lhs, node.rhs))
    alone = [(mine, theirs) for mine in left for theirs in right if mine not in right and theirs not in left]
    return any(mine.source == theirs.source and mine.asked.get(label) != theirs.asked.get(label) for mine, theirs in alone)


def _is_matched_by(node: ql.BinaryExpr, label: str) -> bool:
    matching = node.modifier.matching if node.modifier else None
    if matching is None:
        return True
    listed = label in matching.labels
    return listed if matching.type == ql.LabelModifierType.Include else not listed


def _matching(node: ql.BinaryExpr, left: frozenset[str] | None, right: frozenset[str] | None) -> Iterator[Fault]:
    modifier = node.modifier
    known = [side for side in (left, right) if side is not None]
    if modifier is None or modifier.matching is None:
        if str(node.op) != "or" and left is not None and right is not None and left != right:
            yield Fault(
                "unmatched-labels",
                written(node),
                f"the left side has {_listed(left)}, the right side {_listed(right)}: nothing matches",
                f"{node.op} on ({', '.join(sorted((left & right) - TARGET))}), or the same labels on both sides",
            )
        return
    listed = modifier.matching.labels
    if modifier.matching.type == ql.LabelModifierType.Include:
        for side in known:
            yield from (_unknown_label(one, side, f"{node.op} on ({', '.join(listed)})") for one in _strange(listed, side))
    elif len(known) == 2:
        yield from (
            _unknown_label(one, known[0] | known[1], f"ignoring ({', '.join(listed)})") for one in _strange(listed, known[0] | known[1])
        )
    one_side = right if modifier.card == ql.VectorMatchCardinality.ManyToOne else left
    if modifier.group_labels and one_side is not None:
        strange = _strange(modifier.group_labels, one_side)
        yield from (_unknown_label(one, one_side, f"group_left ({', '.join(modifier.group_labels)})") for one in strange)


def _listed(labels: frozenset[str]) -> str:
    return "no labels" if not labels else "the labels " + ", ".join(sorted(labels))


def _without_exceptions(expression: str, found: list[Fault]) -> list[Fault]:
    """Without what comments except, and with what is wrong with the comments."""
    kept = list(found)
    for comment in _EXCEPTION.finditer(expression):
        said = _EXCEPTED.fullmatch(comment["said"])
        rule = said["rule"] if said else None
        if rule not in RULES:
            wrong = f"{comment[0].strip()!r} is no exception"
            kept.append(Fault("exception", comment[0].strip(), wrong, f"# lint: RULE because REASON, with one of {', '.join(RULES)}"))
        elif not any(one.rule == rule for one in found):
            kept.append(Fault("exception", comment[0].strip(), f"nothing here breaks {rule}", "the expression without this comment"))
        kept = [one for one in kept if one.rule != rule]
    return kept


def _unparsed(expression: str, why: str) -> Fault:
    return Fault("parse", shortened(expression), f"it cannot be read: {why}", "an expression that `promtool query` takes")
