"""Walking an OpenAPI document: its operations, and requests that fit them."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from seawall_check.sign_in import Page

METHODS = ("get", "post", "put", "patch", "delete")
DEPTH_MAX = 8
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PLACEHOLDER = re.compile(r"{([^}:]+)(?::[^}]*)?}")


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Args:
        parameters: OpenAPI parameter objects, references resolved.
        body: the JSON Schema of the request body, or None; `$ref` still in it.
        content_type: of that body.
    """

    method: str
    path: str
    id: str = ""
    parameters: tuple[Mapping[str, Any], ...] = ()
    body: Mapping[str, Any] | None = None
    content_type: str = ""
    responses: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """`POST /api/orders/{order_id}/refunds`, the name that `[check.routes]` uses."""
        return f"{self.method} {self.path}"

    @property
    def safe(self) -> bool:
        return self.method in SAFE_METHODS

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(_PLACEHOLDER.findall(self.path))

    @property
    def query(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(one for one in self.parameters if one.get("in") == "query")

    def url(self, values: Mapping[str, str] | None = None) -> str:
        """The path with its parameters filled in; a missing value becomes one that fits the parameter's schema."""
        given = values or {}
        return _PLACEHOLDER.sub(
            lambda found: quote(str(given.get(found[1]) or self._sample(found[1])), safe=""), self.path
        )

    def sample_body(self, string: str = "sample") -> Any:
        """A body that fits the schema; its free strings are `string`. None when the operation takes none."""
        return None if self.body is None else sample(self.body, self.document, string)

    def options(
        self, *, body: Any = None, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Arguments for `client.request`. `body` is sent as JSON, or as form fields when the operation takes a form."""
        options: dict[str, Any] = {
            "params": dict(query or {}),
            "headers": {"Accept": "application/json", **(headers or {})},
        }
        if body is not None:
            form = "form" in self.content_type
            options["data" if form else "json"] = {k: _field(v) for k, v in body.items()} if form else body
        return options

    async def send(
        self,
        client: httpx2.AsyncClient,
        values: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Send it. `cookies` go along with those of the client's jar, for this request only."""
        options = self.options(body=body, query=query, headers=headers)
        if cookies:
            jar = {cookie.name: cookie.value or "" for cookie in client.cookies.jar}
            options["headers"]["Cookie"] = "; ".join(f"{name}={value}" for name, value in (jar | dict(cookies)).items())
        return await client.request(self.method, self.url(values), **options)

    def _sample(self, name: str) -> str:
        for one in self.parameters:
            if one.get("in") == "path" and one.get("name") == name:
                return str(sample(one.get("schema", {}), self.document, "sample"))
        return "sample"


async def pages(client: httpx2.AsyncClient, start: str, count_max: int) -> AsyncIterator[tuple[str, httpx2.Response]]:
    """HTML pages reached by links of the same origin, breadth first, from `start`; each once. Links only: no forms."""
    queue, seen = [start], {start}
    for url in itertools.islice(_growing(queue), count_max):
        response = await client.get(url, headers={"Accept": "text/html"}, follow_redirects=True)
        yield url, response
        if "html" not in response.headers.get("content-type", ""):
            continue
        for link in Page(response.text).links:
            onward = response.url.join(link)
            path = onward.raw_path.decode()
            if (onward.host, onward.port) == (response.url.host, response.url.port) and path not in seen:
                seen.add(path)
                queue.append(path)


def _growing(queue: list[str]) -> Iterator[str]:
    """The items of a list that grows while it is read."""
    index = 0
    while index < len(queue):
        yield queue[index]
        index += 1


def operations(document: Mapping[str, Any]) -> tuple[Operation, ...]:
    """Every operation of an OpenAPI 3 document, in its order."""
    found: list[Operation] = []
    for path, item in document.get("paths", {}).items():
        shared = item.get("parameters", [])
        for method in METHODS:
            if method not in item:
                continue
            raw = item[method]
            body, content_type = _body(raw, document)
            found.append(
                Operation(
                    method.upper(),
                    path,
                    str(raw.get("operationId", "")),
                    tuple(resolve(one, document) for one in [*shared, *raw.get("parameters", [])]),
                    body,
                    content_type,
                    raw.get("responses", {}),
                    document,
                )
            )
    return tuple(found)


def _body(raw: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    content = resolve(raw.get("requestBody", {}), document).get("content", {})
    for content_type in ("application/json", *content):
        if content_type in content:
            return content[content_type].get("schema", {}), content_type
    return None, ""


def resolve(schema: Any, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref` within the document; an unknown reference becomes an empty schema."""
    for _ in range(DEPTH_MAX):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        node: Any = document
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, Mapping) else {}
        schema = node
    return schema if isinstance(schema, Mapping) else {}


def sample(schema: Any, document: Mapping[str, Any], string: str = "sample", depth: int = 0) -> Any:
    """A value that fits a JSON Schema, as far as a schema can say. Required members only; the least allowed numbers."""
    schema = resolve(schema, document)
    if depth > DEPTH_MAX:
        return None
    given = [schema[name] for name in ("const", "default", "example") if schema.get(name) is not None]
    given += [schema[name][0] for name in ("enum", "examples") if schema.get(name)]
    if given:
        return given[0]
    for name in ("anyOf", "oneOf", "allOf"):
        options = [one for one in schema.get(name, ()) if resolve(one, document).get("type") != "null"]
        if options:
            chosen = options if name == "allOf" else options[:1]
            return _merged([sample(one, document, string, depth + 1) for one in chosen])
    return _of_type(schema, document, string, depth)


def _merged(values: list[Any]) -> Any:
    if all(isinstance(value, dict) for value in values):
        return {name: value for one in values for name, value in one.items()}
    return values[0]


def _of_type(schema: Mapping[str, Any], document: Mapping[str, Any], string: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or "properties" in schema:
        required = set(schema.get("required", ()))
        members = schema.get("properties", {}).items()
        return {name: sample(one, document, string, depth + 1) for name, one in members if name in required}
    if kind == "array":
        return [sample(schema.get("items", {}), document, string, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"}:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        return int(least) if kind == "integer" else least
    if kind == "boolean":
        return False
    return None if kind == "null" else _string(schema, string)


FORMATS = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}


def _string(schema: Mapping[str, Any], string: str) -> str:
    known = FORMATS.get(schema.get("format", ""))
    if known is not None:
        return known
    pattern = schema.get("pattern", "")
    if pattern and not re.search(pattern, string):
        # The commonest closed patterns; anything else is stated by the app's author in [check.routes].
        for guess in ("USD", "abc", "0", "a1", "123456", "sample"):
            if re.search(pattern, guess):
                return guess
    text = string
    while len(text) < schema.get("minLength", 0):
        text += string or "x"
    return text[: schema.get("maxLength", len(text))]


def is_free_string(schema: Any, document: Mapping[str, Any]) -> bool:
    """Whether a schema takes any text, so that a canary can be planted in it."""
    schema = resolve(schema, document)
    if "anyOf" in schema:
        return any(is_free_string(one, document) for one in schema["anyOf"])
    closed = ("enum", "const", "format", "pattern")
    return schema.get("type") == "string" and not any(name in schema for name in closed)


def filled(body: Any, objects: Mapping[str, Sequence[str]]) -> Any:
    """A stated body with its placeholders filled: the text `{order_id}` becomes the first of `objects["order_id"]`."""
    if isinstance(body, Mapping):
        return {name: filled(value, objects) for name, value in body.items()}
    if isinstance(body, list):
        return [filled(value, objects) for value in body]
    found = _PLACEHOLDER.fullmatch(body) if isinstance(body, str) else None
    return objects[found[1]][0] if found and objects.get(found[1]) else body


def with_canary(operation: Operation, body: Any, canary: str) -> tuple[Any, bool]:
    """The body with every free text member replaced by a canary that fits; and whether any was."""
    schema = resolve(operation.body or {}, operation.document)
    members = schema.get("properties", {})
    if not isinstance(body, Mapping):
        return body, False
    free = {name for name in body if name in members and is_free_string(members[name], operation.document)}
    return {name: canary if name in free else value for name, value in body.items()}, bool(free)


def _field(value: Any) -> Any:
    return value if isinstance(value, str | list) else str(value)
