"""Whether a recorded request is one that the vendor's published OpenAPI document allows.

The documents lie beside the project, not in it; without them whoever asks is skipped. Paths, query parameters and bodies are looked at:
unknown names are faults as well, for a vendor ignores a misspelt field without a word. Where Prism is installed
(`npm install -g @stoplight/prism-cli`) it is asked too.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import socket
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from litgo_pipelines.settings import PROJECT_FOLDER
from litgo_pipelines.simulation.vendors.server import Received

Vendor = Literal["openai", "docusign", "onesignal", "sendgrid"]

FOLDER = PROJECT_FOLDER.parent / "shared" / "specs"
_FILES: dict[Vendor, str] = {
    "openai": "openai-embeddings.openapi.json",
    "docusign": "docusign-envelopes.swagger.json",
    "onesignal": "onesignal.openapi.yaml",
    "sendgrid": "sendgrid-mail-v3.openapi.json",
}
# Where the vendor's own server address ends, which stand-ins answer under as well.
_BASES: dict[Vendor, str] = {"openai": "/v1", "docusign": "/restapi", "onesignal": "", "sendgrid": ""}
_METHODS = ("get", "put", "post", "delete", "patch")
_ROOT = "urn:published"
_NO_ANSWER = "SCHEMA_TOO_COMPLEX"


def document(vendor: Vendor) -> Path:
    """The file; skips the test that asks where it is missing."""
    file = FOLDER / _FILES[vendor]
    if not file.is_file():
        pytest.skip(f"the published document {file.name} is not here (looked in {FOLDER})")
    return file


class Published:
    """A vendor's document."""

    def __init__(self, vendor: Vendor) -> None:
        from referencing import Registry, Resource
        from referencing.jsonschema import DRAFT202012

        self.vendor, self.base = vendor, _BASES[vendor]
        self._content = _strict(_read(document(vendor)))
        resource = Resource.from_contents(self._content, default_specification=DRAFT202012)
        self._registry: Any = Registry().with_resource(_ROOT, resource)

    def check(self, received: Received) -> None:
        """Fail the test with all that the document does not allow of a request, as JSON Schema or Prism say."""
        faults = self.faults(received)
        if prism_is_here():
            faults += self.faults_by_prism(received)
        assert not faults, f"{received.method} {received.path}: {'; '.join(faults)}"

    def faults_by_prism(self, received: Received) -> list[str]:
        """What a Prism that plays the vendor refuses of a request."""
        import httpx

        headers = {name: value for name, value in received.headers.items() if name.lower() in ("authorization", "content-type", "accept")}
        url = f"{prism(self.vendor)}{received.path.removeprefix(self.base)}"
        answer = httpx.request(received.method, url, headers=headers, content=received.body, timeout=60)
        # It looks at the request before it makes up an answer, which it cannot do for every document.
        passed = answer.status_code < 400 or _NO_ANSWER in answer.text
        return [] if passed else [f"Prism answers {answer.status_code}: {answer.text[:500]}"]

    def faults(self, received: Received) -> list[str]:
        """What the document does not allow of a request; empty: nothing."""
        target = urlsplit(received.path)
        operation = self._operation(received.method, target.path)
        if operation is None:
            return ["there is no such operation"]
        parameters = [self._resolved(one) for one in operation.get("parameters", [])]
        return [*_query_faults(parameters, dict(parse_qsl(target.query))), *self._body_faults(operation, parameters, received.body)]

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """The node, or what it refers to."""
        found = node
        if "$ref" in node:
            found = self._content
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
        return found

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        inner = path.removeprefix(self.base)
        for template, operations in self._content["paths"].items():
            pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template.partition("?")[0]))
            if re.fullmatch(pattern, inner) and method.lower() in operations and method.lower() in _METHODS:
                return cast(dict[str, Any], operations[method.lower()])
        return None

    def _body_faults(self, operation: dict[str, Any], parameters: list[dict[str, Any]], body: bytes) -> list[str]:
        from jsonschema import Draft202012Validator

        # As OpenAPI 3 has it, or as Swagger 2.
        bodies = [one["schema"] for one in parameters if one.get("in") == "body"]
        if "requestBody" in operation:
            bodies = [self._resolved(operation["requestBody"])["content"]["application/json"]["schema"]]
        if not bodies:
            return ["there is a body where none is expected"] if body else []
        schema = {"allOf": [_absolute(bodies[0])], "unevaluatedProperties": False}
        validator = Draft202012Validator(schema, registry=self._registry, format_checker=Draft202012Validator.FORMAT_CHECKER)
        try:
            sent = json.loads(body)
        except ValueError:
            return ["the body is no JSON"]
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(sent)]


@lru_cache(maxsize=4)
def published(vendor: Vendor) -> Published:
    """The document of a vendor, read once."""
    return Published(vendor)


def prism_is_here() -> bool:
    """Whether Prism is installed."""
    return shutil.which("prism") is not None


@lru_cache(maxsize=4)
def prism(vendor: Vendor) -> str:
    """The address of a Prism that plays a vendor and refuses what the document does not allow; it ends with this process."""
    import httpx

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["prism", "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), str(document(vendor))]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(running.kill)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while True:
        try:
            httpx.get(url, timeout=5)
            return url
        except httpx.TransportError:
            assert running.poll() is None, f"prism ended with {running.returncode}"
            assert time.monotonic() < until, "prism does not answer"
            time.sleep(0.2)


def _read(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return cast(dict[str, Any], json.loads(text))
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes a lone equals sign, which YAML 1.1 gives a meaning of its own, for what it is."""

    Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)
    return cast(dict[str, Any], yaml.load(text, Loader=Loader))


def _strict(content: dict[str, Any]) -> dict[str, Any]:
    """The same, refusing names it does not declare. Where schemas are composed, the parts alone could not know the others' names."""
    if '"allOf"' in json.dumps(content, default=str):
        return content

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and isinstance(node.get("properties"), dict):
                node.setdefault("additionalProperties", False)
            for one in node.values():
                walk(one)
        elif isinstance(node, list):
            for one in node:
                walk(one)

    walk(content)
    return content


def _absolute(node: Any) -> Any:
    """The same with references to the document that hold wherever it is put."""
    if isinstance(node, dict):
        return {name: _ROOT + value if name == "$ref" else _absolute(value) for name, value in node.items()}
    return [_absolute(one) for one in node] if isinstance(node, list) else node


def _query_faults(parameters: list[dict[str, Any]], sent: dict[str, str]) -> list[str]:
    declared = {one["name"]: one for one in parameters if one.get("in") == "query"}
    unknown = [f"there is no query parameter {name}" for name in sent if name not in declared]
    return unknown + [
        f"the query parameter {name} is missing" for name, one in declared.items() if one.get("required") and name not in sent
    ]
