"""What series an expression of PromQL can name, and which labels its result bears. What is wrong with an expression is in `promql`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

import promql_parser as ql
from prometheus_client.utils import floatToGoString

from litgo_pipelines.observability.metrics import METRICS, Metric

Kind = Literal["counter", "bucket", "gauge", "recorded"]

TARGET: Final = frozenset({"job", "instance"})
"""Labels that Prometheus gives whatever it scrapes."""

_EQUAL: Final = str(ql.MatchOp.Equal)
_RATES: Final = frozenset({"rate", "irate", "increase"})


@dataclass(frozen=True)
class Series:
    """What is stored under one name.

    Attributes:
        labels: all that it can bear; None where that is not known.
        values: what a label can be, where that is known.
    """

    kind: Kind
    labels: frozenset[str] | None
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


FOREIGN: Final[Mapping[str, Series]] = {
    "up": Series("gauge", TARGET),
    "scrape_duration_seconds": Series("gauge", TARGET),
    "process_resident_memory_bytes": Series("gauge", TARGET),
    "prometheus_tsdb_head_series": Series("gauge", TARGET),
    "prometheus_tsdb_head_samples_appended_total": Series("counter", TARGET),
    "prometheus_notifications_errors_total": Series("counter", TARGET | {"alertmanager"}),
    "prometheus_notifications_dropped_total": Series("counter", TARGET),
    "prometheus_rule_evaluation_failures_total": Series("counter", TARGET | {"rule_group"}),
    "alertmanager_notifications_total": Series("counter", TARGET | {"integration"}),
    "alertmanager_notifications_failed_total": Series("counter", TARGET | {"integration"}),
}
"""What is used of Prometheus' and Alertmanager's own metrics."""


@dataclass(frozen=True)
class Recorded:
    """A recording rule.

    Attributes:
        expression: None where it cannot be read.
        labels: what the rule adds.
    """

    expression: ql.Expr | None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Names:
    """All names that an expression may use.

    Attributes:
        exported: series by the name under which they are stored.
        recorded: rules by the name that they record.
        alerts: what ALERTS bears; None where the alerts are not known.
    """

    exported: Mapping[str, Series]
    recorded: Mapping[str, Sequence[Recorded]] = field(default_factory=dict)
    alerts: Series | None = None

    def find(self, name: str) -> Series | None:
        """The series of a name; None where there is none."""
        if name in self.exported:
            return self.exported[name]
        if name in self.recorded:
            return Series("recorded", self._recorded_labels(name), self._recorded_values(name))
        return self._alerts(name) if name in ("ALERTS", "ALERTS_FOR_STATE") else FOREIGN.get(name)

    def sources(self, name: str) -> Iterator[tuple[ql.Expr, Names]]:
        """Expressions that make a recorded name, each with the names that it may use: all but its own, so that a circle ends."""
        yield from ((made, rest) for made, rest, _ in self.rules(name))

    def rules(self, name: str) -> Iterator[tuple[ql.Expr, Names, Mapping[str, str]]]:
        """The same, with the labels that each rule adds."""
        if name in self.recorded:
            rest = self._without(name)
            yield from ((rule.expression, rest, rule.labels) for rule in self.recorded[name] if rule.expression is not None)

    def _without(self, name: str) -> Names:
        return replace(self, recorded={other: rules for other, rules in self.recorded.items() if other != name})

    def _recorded_labels(self, name: str) -> frozenset[str] | None:
        found: frozenset[str] = frozenset()
        rest = self._without(name)
        for rule in self.recorded[name]:
            labels = None if rule.expression is None else labels_of(rule.expression, rest)
            if labels is None:
                return None
            found |= labels | set(rule.labels)
        return found

    def _recorded_values(self, name: str) -> dict[str, frozenset[str]]:
        rules = self.recorded[name]
        fixed = set.intersection(*(set(rule.labels) for rule in rules))
        return {label: frozenset(rule.labels[label] for rule in rules) for label in fixed}

    def _alerts(self, name: str) -> Series:
        alerts = self.alerts or Series("gauge", None)
        stored = alerts.labels if alerts.labels is None or name == "ALERTS" else alerts.labels - {"alertstate"}
        return replace(alerts, labels=stored)


def alert_series(alerts: Mapping[str, Sequence[Recorded]], names: Names) -> Series:
    """What ALERTS bears: labels of the conditions of all alerts and those that their rules add.

    Args:
        alerts: rules by the alert's name.
    """
    rules = [rule for same in alerts.values() for rule in same]
    added = {label: frozenset(rule.labels[label] for rule in rules if label in rule.labels) for rule in rules for label in rule.labels}
    known = {label: values for label, values in added.items() if all(label in rule.labels for rule in rules)}
    borne = [labels_of(rule.expression, names) if rule.expression is not None else None for rule in rules]
    unknown = any(labels is None for labels in borne)
    labels = None if unknown else frozenset({"alertname", "alertstate", *added}).union(*(one for one in borne if one is not None))
    return Series("gauge", labels, {**known, "alertname": frozenset(alerts), "alertstate": frozenset({"pending", "firing"})})


def exported(metrics: Iterable[Metric] = tuple(METRICS.values())) -> dict[str, Series]:
    """Series of metrics, of the registry's if no others are named, by the name under which they are stored."""
    return {name: _stored(metric, name) for metric in metrics for name in metric.sample_names}


def _stored(metric: Metric, name: str) -> Series:
    labels = TARGET | set(metric.labels)
    values = {label: frozenset(known) for label, known in metric.known.items()}
    if metric.kind == "gauge":
        return Series("gauge", labels, values)
    if name.endswith("_bucket") and metric.kind == "histogram":
        bounds = frozenset(str(floatToGoString(bound)) for bound in (*metric.bounds, float("inf")))  # type: ignore[no-untyped-call]
        return Series("bucket", labels | {"le"}, {**values, "le": bounds})
    return Series("counter", labels, values)


def children(node: ql.Expr) -> list[ql.Expr]:
    """The expressions right below one, in the order in which they are written."""
    match node:
        case ql.AggregateExpr():
            return [*([node.param] if isinstance(node.param, ql.Expr) else []), node.expr]
        case ql.BinaryExpr():
            return [node.lhs, node.rhs]
        case ql.Call():
            return list(node.args)
        case ql.UnaryExpr() | ql.ParenExpr() | ql.SubqueryExpr():
            return [node.expr]
        case ql.MatrixSelector():
            return [node.vector_selector]
        case _:
            return []


def walk(node: ql.Expr) -> Iterator[ql.Expr]:
    """An expression and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def bare(node: ql.Expr) -> ql.Expr:
    """Without the parentheses around it."""
    while isinstance(node, ql.ParenExpr):
        node = node.expr
    return node


def name_of(selector: ql.VectorSelector) -> str | None:
    """The metric that a selector names, also where it does so as `{__name__="..."}`; None where it names none."""
    named = [one.value for one in selector.matchers.matchers if one.name == "__name__" and one.op == ql.MatchOp.Equal]
    return selector.name or (named[0] if named else None)


def is_vector(node: ql.Expr) -> bool:
    """Whether it has labels at all: not a number, a text, or made of numbers alone."""
    match bare(node):
        case ql.NumberLiteral() | ql.StringLiteral():
            return False
        case ql.Call() as call:
            return bool(call.func.return_type == ql.ValueType.Vector)
        case ql.BinaryExpr() as both:
            return is_vector(both.lhs) or is_vector(both.rhs)
        case ql.UnaryExpr() as unary:
            return is_vector(unary.expr)
        case _:
            return True


def everything(node: ql.Expr, names: Names) -> Iterator[tuple[ql.Expr, Names]]:
    """All parts of an expression and of the recording rules that it uses, each with the names that it may use."""
    for one in walk(node):
        yield one, names
        for made, rest in names.sources(name_of(one) or "") if isinstance(one, ql.VectorSelector) else ():
            yield from everything(made, rest)


def anywhere(node: ql.Expr, names: Names, holds: Callable[[ql.Expr, Names], bool]) -> bool:
    """Whether something holds of a part of an expression, or of the recording rules that it uses."""
    return any(holds(one, known) for one, known in everything(node, names))


@dataclass(frozen=True)
class Selected:
    """Series that an expression is made of.

    Attributes:
        source: their name and of when they are: windows, offset.
        asked: operators and values of what is asked of labels, by label.
    """

    source: tuple[str, ...]
    asked: Mapping[str, frozenset[tuple[str, str]]]

    @property
    def name(self) -> str:
        """The metric, or what a recording rule records."""
        return self.source[0]

    def is_within(self, other: Selected) -> bool:
        """Whether it is of the same metric, asks of all labels that the other asks of, and of none for another value."""
        both = [(self.asked.get(label, frozenset()), asked) for label, asked in other.asked.items()]
        return self.name == other.name and all(mine and not _contradict(mine, theirs) for mine, theirs in both)


def _contradict(one: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> bool:
    fixed, also = ({value for op, value in asked if op == _EQUAL} for asked in (one, other))
    return bool(fixed and also) and fixed.isdisjoint(also)


def selected(
    node: ql.Expr, names: Names, pinned: Mapping[str, str] = MappingProxyType({}), when: tuple[str, ...] = (), keeping: str | None = None
) -> Iterator[Selected]:
    """All that an expression selects: what it names, and what recording rules make that of.

    Args:
        pinned: labels that are fixed from outside, for what recording rules add.
        when: windows that are around it.
        keeping: a label, where only recording rules are of interest that keep it.
    """
    match node:
        case ql.VectorSelector():
            asked = {label: frozenset({(_EQUAL, value)}) for label, value in pinned.items()}
            for one in node.matchers.matchers:
                if one.name != "__name__":
                    asked[one.name] = asked.get(one.name, frozenset()) | {(str(one.op), one.value)}
            yield Selected((name_of(node) or "", f"{node.offset} {node.at}", *when), asked)
            for made, rest, fixed in made_of(node, names, pinned):
                if keeping is None or keeps(made, keeping, rest):
                    yield from selected(made, rest, fixed, when, keeping)
        case ql.MatrixSelector():
            yield from selected(node.vector_selector, names, pinned, (*when, str(node.range)), keeping)
        case ql.SubqueryExpr():
            yield from selected(node.expr, names, pinned, (*when, f"{node.range} {node.offset} {node.at}"), keeping)
        case _:
            for child in children(node):
                yield from selected(child, names, pinned, when, keeping)


def made_of(node: ql.VectorSelector, names: Names, pinned: Mapping[str, str]) -> Iterator[tuple[ql.Expr, Names, dict[str, str]]]:
    """Expressions that make what a selector selects of a recorded name, with their names and the labels that stay fixed within."""
    fixed = {**pinned, **{one.name: one.value for one in node.matchers.matchers if one.op == ql.MatchOp.Equal and one.name != "__name__"}}
    for made, rest, added in names.rules(name_of(node) or ""):
        if all(fixed.get(label, value) == value for label, value in added.items()):
            yield made, rest, {label: value for label, value in fixed.items() if label not in added}


def keeps(node: ql.Expr, label: str, names: Names) -> bool:
    """Whether the result bears a label as what is selected bears it, and not summed away or made anew."""
    calls = [one for one in walk(node) if isinstance(one, ql.Call) and one.func.name in ("label_replace", "label_join")]
    if any(isinstance(call.args[1], ql.StringLiteral) and call.args[1].val == label for call in calls):
        return False
    labels = labels_of(node, names)
    return label in labels if labels is not None else not any(isinstance(one, ql.AggregateExpr) for one in walk(node))


def fits(pattern: str, value: str) -> bool:
    """Whether a matcher's pattern takes a value."""
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        # Go's regular expressions know things that Python's do not; what cannot be judged may match.
        return True


def is_rate(node: ql.Expr, _names: Names) -> bool:
    """Whether it is a call that counts events."""
    return isinstance(node, ql.Call) and node.func.name in _RATES


def counts_events(node: ql.Expr, names: Names) -> bool:
    """Whether its value is made of how many events there were."""
    return anywhere(node, names, is_rate)


def divides_events(node: ql.Expr, names: Names) -> bool:
    """Whether it divides by how many events there were."""
    return anywhere(node, names, lambda one, known: isinstance(one, ql.BinaryExpr) and str(one.op) == "/" and counts_events(one.rhs, known))


def rated_buckets(node: ql.Expr, names: Names) -> bool:
    """Whether it is made of rates of a histogram's buckets."""
    return anywhere(node, names, lambda one, known: is_rate(one, known) and any(_is_bucket(below, known) for below in walk(one)))


def _is_bucket(node: ql.Expr, names: Names) -> bool:
    found = names.find(name_of(node) or "") if isinstance(node, ql.VectorSelector) else None
    return found is not None and found.kind == "bucket"


def labels_of(node: ql.Expr, names: Names) -> frozenset[str] | None:
    """Labels that the result can bear; None where that is not known."""
    match node:
        case ql.VectorSelector():
            found = names.find(name_of(node) or "")
            return None if found is None else found.labels
        case ql.MatrixSelector():
            return labels_of(node.vector_selector, names)
        case ql.UnaryExpr() | ql.ParenExpr() | ql.SubqueryExpr():
            return labels_of(node.expr, names)
        case ql.AggregateExpr():
            return _aggregated(node, labels_of(node.expr, names))
        case ql.Call():
            return _of_call(node, names)
        case ql.BinaryExpr():
            return _of_both(node, labels_of(node.lhs, names), labels_of(node.rhs, names))
        case _:
            return frozenset()


def _aggregated(node: ql.AggregateExpr, below: frozenset[str] | None) -> frozenset[str] | None:
    if str(node.op) in ("topk", "bottomk", "limitk", "limit_ratio"):
        return below
    listed = frozenset(node.modifier.labels) if node.modifier else frozenset()
    if str(node.op) == "count_values":
        return None
    if node.modifier is None or node.modifier.type == ql.AggModifierType.By:
        return listed
    return None if below is None else below - listed


def _of_call(node: ql.Call, names: Names) -> frozenset[str] | None:
    match node.func.name:
        case "absent" | "absent_over_time":
            # Those that a matcher asks for by `=`, and they alone.
            below = [one for one in walk(node) if isinstance(one, ql.VectorSelector)]
            equal = [one.name for one in below[0].matchers.matchers if one.op == ql.MatchOp.Equal] if len(below) == 1 else []
            return frozenset(equal) - {"__name__"}
        case "label_replace" | "label_join":
            made, inner = node.args[1], labels_of(node.args[0], names)
            return None if inner is None or not isinstance(made, ql.StringLiteral) else inner | {made.val}
        case "histogram_quantile":
            inner = labels_of(node.args[1], names)
            return None if inner is None else inner - {"le"}
        case _:
            vectors = [arg for arg in node.args if is_vector(arg)]
            return labels_of(vectors[0], names) if vectors and is_vector(node) else frozenset()


def _of_both(node: ql.BinaryExpr, left: frozenset[str] | None, right: frozenset[str] | None) -> frozenset[str] | None:
    op, modifier = str(node.op), node.modifier
    if not is_vector(node.lhs):
        return right
    if not is_vector(node.rhs) or op in ("and", "unless"):
        return left
    if op == "or":
        return left if left == right else None
    if modifier is not None and modifier.card in (ql.VectorMatchCardinality.ManyToOne, ql.VectorMatchCardinality.OneToMany):
        many = left if modifier.card == ql.VectorMatchCardinality.ManyToOne else right
        return None if many is None else many | frozenset(modifier.group_labels or ())
    if modifier is None or modifier.matching is None:
        return left
    listed = frozenset(modifier.matching.labels)
    if modifier.matching.type == ql.LabelModifierType.Include:
        return listed
    return None if left is None else left - listed
