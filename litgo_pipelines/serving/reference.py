"""The API's reference as one HTML page without scripts or anything fetched from elsewhere, made from its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
pre{{background:#f4f4f4;padding:.8rem;overflow:auto}}table{{border-collapse:collapse;width:100%}}
td,th{{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}}</style></head>
<body><h1>{title}</h1><p>{description}</p><p>As a document for programs: <a href="openapi.json">openapi.json</a></p>{body}</body></html>"""


def reference_page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    operations = (
        _operation(method, path, operation) for path, methods in document["paths"].items() for method, operation in methods.items()
    )
    models = (_model(name, model) for name, model in document["components"]["schemas"].items() if "properties" in model)
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        description=_prose(info["description"]),
        body="".join([*operations, "<h2>Bodies</h2>", *models]),
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{_prose(answer['description'])}</td></tr>" for status, answer in operation["responses"].items()
    )
    headers = "".join(f"<p><code>{escape(one['name'])}</code>: {_prose(one.get('description', ''))}</p>" for one in _parameters(operation))
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{_prose(operation.get('description', operation['summary']))}</p>"
        f"{headers}<table><tr><th>Status</th><th>Meaning</th></tr>{answers}</table>"
    )


def _parameters(operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(operation.get("parameters", []))


def _model(name: str, model: Mapping[str, Any]) -> str:
    needed = set(model.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{escape(_kind(about))}</td><td>{'yes' if field in needed else ''}</td>"
        f"<td>{_prose(about.get('description', ''))}</td></tr>"
        for field, about in model["properties"].items()
    )
    examples = "".join(f"<pre>{escape(json.dumps(one, indent=2, ensure_ascii=False))}</pre>" for one in model.get("examples", []))
    return (
        f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{_prose(model.get('description', ''))}</p>"
        f"<table><tr><th>Field</th><th>Type</th><th>Needed</th><th>Meaning</th></tr>{rows}</table>{examples}"
    )


def _kind(about: Mapping[str, Any]) -> str:
    return " or ".join(_kinds(about))


def _kinds(about: Mapping[str, Any]) -> Iterator[str]:
    if "anyOf" in about:
        for one in about["anyOf"]:
            yield from _kinds(one)
    elif "$ref" in about:
        yield about["$ref"].rpartition("/")[2]
    elif "enum" in about:
        yield ", ".join(map(str, about["enum"]))
    elif "items" in about:
        yield f"list of {_kind(about['items'])}"
    else:
        yield str(about.get("format", about.get("type", "any")))


def _prose(text: str) -> str:
    """Text with its `code` marked up."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
