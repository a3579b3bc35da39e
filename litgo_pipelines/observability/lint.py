"""The expressions of rules and dashboards, found in their files and checked one by one. How one is judged is in `promql`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from litgo_pipelines.observability.deployment import DASHBOARDS, RULES
from litgo_pipelines.observability.faults import Fault
from litgo_pipelines.observability.promql import check, check_label, parse, without_variables
from litgo_pipelines.observability.series import Names, Recorded, alert_series, exported
from litgo_pipelines.observability.templates import labels_in_legend, labels_in_template, queries_in_template
from litgo_pipelines.settings import LitgoError

_RULE_ENDS: Final = (".yaml", ".yml")
_NO_ALIASES: Final = ("expr", "alert", "record")
_ALIAS: Final = "!alias"
_LABEL_VALUES: Final = re.compile(r"label_values\(\s*(?:(?P<of>.+?)\s*,\s*)?(?P<label>\w+)\s*\)", re.DOTALL)
_QUERY_RESULT: Final = re.compile(r"query_result\((?P<of>.+)\)", re.DOTALL)


class _Alias(str):
    """An alias of YAML where Prometheus reads its name in place of what it stands for."""


class _RuleLoader(yaml.SafeLoader):
    """Reads rules as Prometheus does: its expressions and names are YAML's bare nodes, of which aliases are not resolved."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event() if self.check_event(yaml.AliasEvent) else None  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if event is None or not isinstance(index, yaml.ScalarNode) or index.value not in _NO_ALIASES:
            return node
        return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)


_RuleLoader.add_constructor(_ALIAS, lambda _, node: _Alias(node.value))


@dataclass(frozen=True)
class Finding:
    """What is wrong with an expression of a file.

    Attributes:
        where: group and rule, or panel and query.
        part: the part of the expression that is meant.
        instead: what to write.
    """

    file: str
    where: str
    expression: str
    rule: str
    part: str
    wrong: str
    instead: str


@dataclass(frozen=True)
class Expression:
    """An expression where it stands.

    Attributes:
        shows: texts that show labels of its result, and the labels.
        adds: labels that its rule adds to the result.
        alias: what of its rule is written as an alias of YAML.
        grafana: whether Grafana's variables may stand in it.
        presence: whether only the labels of its result are asked for.
    """

    file: Path
    where: str
    text: str
    shows: tuple[tuple[str, str], ...] = ()
    adds: frozenset[str] = frozenset()
    alias: str | None = None
    alert: bool = False
    grafana: bool = False
    presence: bool = False


class UnreadableFile(LitgoError):
    """A file holds no rules and no dashboard."""


def deployed() -> list[Path]:
    """All files of rules and dashboards of this project, by name."""
    rules = [path for end in _RULE_ENDS for path in RULES.glob(f"*{end}")]
    return sorted(rules) + sorted(DASHBOARDS.glob("*.json"))


def lint(files: Sequence[Path]) -> list[Finding]:
    """What is wrong in files of rules (YAML) and dashboards (JSON), by what this project exports and it and they record.

    Raises:
        UnreadableFile: a file is not there, or holds something else.
    """
    rule_files = dict.fromkeys(path.resolve() for path in (*deployed(), *files) if path.suffix in _RULE_ENDS)
    names = known_names(list(rule_files))
    return [finding for path in files for one in expressions(path) for finding in _findings(one, names)]


def known_names(rule_files: Sequence[Path]) -> Names:
    """All that an expression may name: what is exported, and what these files record and alert on."""
    recorded: dict[str, list[Recorded]] = {}
    alerts: dict[str, list[Recorded]] = {}
    for path in rule_files:
        for _, rule in _rules(path):
            parsed = parse(str(rule.get("expr", "")))
            added = {key: str(value) for key, value in (rule.get("labels") or {}).items()}
            one = Recorded(None if isinstance(parsed, Fault) else parsed, added)
            if "record" in rule:
                recorded.setdefault(str(rule["record"]), []).append(one)
            elif "alert" in rule:
                alerts.setdefault(str(rule["alert"]), []).append(one)
    names = Names(exported(), recorded)
    return replace(names, alerts=alert_series(alerts, names)) if alerts else names


def expressions(path: Path) -> Iterator[Expression]:
    """All expressions of a file, from top to bottom."""
    if path.suffix in _RULE_ENDS:
        for group, rule in _rules(path):
            yield from _of_rule(path, group, rule)
    elif path.suffix == ".json":
        yield from _of_dashboard(path, _read(path, json.loads))
    else:
        raise UnreadableFile(f"{path} is neither rules (.yaml) nor a dashboard (.json): leave it out")


def _findings(one: Expression, names: Names) -> Iterator[Finding]:
    text = without_variables(one.text) if one.grafana else one.text
    faults = check(f"count({text}\n)" if one.presence else text, names, alert=one.alert, shown=one.grafana)
    if one.alias is not None:
        faults = [_aliased(one.alias)]
    labels = (check_label(label, names, text, where, one.adds) for where, label in one.shows)
    for fault in dict.fromkeys([*faults, *(fault for fault in labels if fault is not None)]):
        yield Finding(_shown(one.file), one.where, one.text.strip(), fault.rule, fault.part, fault.wrong, fault.instead)


def _aliased(what: str) -> Fault:
    return Fault("yaml-alias", what, "Prometheus takes the name of an alias for what it stands for, here alone", f"{what} in full")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _read(path: Path, load: Any) -> Any:
    try:
        return load(path.read_text())
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise UnreadableFile(f"{path} is not well-formed: {' '.join(str(error).split())}") from None


def _rules(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each rule of a file with its group's name."""
    held = _read(path, lambda text: yaml.load(text, _RuleLoader))
    try:
        yield from ((str(group["name"]), rule) for group in held["groups"] for rule in group["rules"])
    except (KeyError, TypeError):
        raise UnreadableFile(f"{path} holds no groups of rules: `promtool check rules` says what is missing") from None


def _of_rule(path: Path, group: str, rule: Mapping[str, Any]) -> Iterator[Expression]:
    where = f"{group} / {rule.get('alert', rule.get('record', '?'))}"
    labels = rule.get("labels") or {}
    templates = [(str(key), str(text)) for held in (rule.get("annotations") or {}, labels) for key, text in held.items()]
    shows = tuple((f"{key}: {label}", label) for key, text in templates for label in labels_in_template(text))
    alias = next((f"{key}: *{rule[key]}" for key in _NO_ALIASES if isinstance(rule.get(key), _Alias)), None)
    yield Expression(path, where, str(rule.get("expr", "")), shows, frozenset(labels), alias, alert="alert" in rule)
    for key, text in templates:
        yield from (Expression(path, f"{where} / {key}", query) for query in queries_in_template(text))


def _of_dashboard(path: Path, board: Any) -> Iterator[Expression]:
    if not isinstance(board, dict) or not isinstance(board.get("panels"), list):
        raise UnreadableFile(f"{path} is no dashboard of Grafana: it has no panels")
    for panel in _panels(board["panels"]):
        for target in panel.get("targets") or ():
            if "expr" in target:
                where = f"{panel.get('title') or 'panel'} / {target.get('refId', '?')}"
                yield Expression(path, where, str(target["expr"]), _legend(target.get("legendFormat")), grafana=True)
    for annotation in (board.get("annotations") or {}).get("list") or ():
        text = annotation.get("expr") or (annotation.get("target") or {}).get("expr")
        if text:
            shows = tuple(one for key in ("titleFormat", "textFormat") for one in _legend(annotation.get(key)))
            yield Expression(path, f"annotation {annotation.get('name', '?')}", str(text), shows, grafana=True)
    for variable in (board.get("templating") or {}).get("list") or ():
        if variable.get("type") == "query":
            yield from _of_variable(path, variable)


def _panels(panels: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels") or ())


def _legend(text: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(text), label) for label in labels_in_legend(str(text or "")))


def _of_variable(path: Path, variable: Mapping[str, Any]) -> Iterator[Expression]:
    query = variable.get("query")
    text = str(query.get("query", "") if isinstance(query, dict) else query or "").strip()
    where = f"variable {variable.get('name', '?')}"
    if (asked := _LABEL_VALUES.fullmatch(text)) and asked["of"]:
        yield Expression(path, where, asked["of"], ((text, asked["label"]),), grafana=True, presence=True)
    elif asked := _QUERY_RESULT.fullmatch(text):
        yield Expression(path, where, asked["of"], grafana=True)
