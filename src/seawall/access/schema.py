"""The Cedar schema as typed values.

Cedar itself parses and checks the file; `cedarpy` gives no JSON form of it, only its own canonical text. So this module
reads that canonical text (never the author's), which is regular: every action and attribute on its own, no sugar left.
Anything it does not understand is a `Refused`, never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from cedarpy import Schema

from seawall.access.files import read_text
from seawall.core.errors import Refused

ScalarName = Literal["Long", "String", "Bool", "datetime", "decimal", "duration", "ipaddr"]
SCALARS: frozenset[str] = frozenset({"Long", "String", "Bool", "datetime", "decimal", "duration", "ipaddr"})


@dataclass(frozen=True, slots=True)
class Scalar:
    name: ScalarName

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class EntityRef:
    """A value that names an entity; its attributes do not travel with it."""

    type: str

    def __str__(self) -> str:
        return self.type


@dataclass(frozen=True, slots=True)
class SetOf:
    element: CedarType

    def __str__(self) -> str:
        return f"Set<{self.element}>"


@dataclass(frozen=True, slots=True)
class Record:
    attributes: Mapping[str, Attribute]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}: {a.type}" for name, a in self.attributes.items()) + "}"


CedarType = Scalar | EntityRef | SetOf | Record


@dataclass(frozen=True, slots=True)
class Attribute:
    type: CedarType
    required: bool = True


@dataclass(frozen=True, slots=True)
class EntityType:
    """One `entity` of the schema. `parents` are the types it may be `in`."""

    name: str
    parents: frozenset[str]
    attributes: Mapping[str, Attribute]
    tags: bool = False


@dataclass(frozen=True, slots=True)
class ActionType:
    """One `action`. `groups` are all actions that it is `in`, itself included, however deep."""

    name: str
    groups: frozenset[str]
    principals: frozenset[str]
    resources: frozenset[str]
    context: Record


@dataclass(frozen=True)
class CedarSchema:
    """A whole schema: `handle` is Cedar's own parsed form, the rest is what Seawall compiles mappings from."""

    handle: Schema = field(repr=False)
    namespace: str
    entities: Mapping[str, EntityType]
    actions: Mapping[str, ActionType]

    def qualified(self, name: str) -> str:
        """`Order` as the schema knows it, such as `Shop::Order`."""
        return f"{self.namespace}::{name}" if self.namespace else name


def read_schema(path: Path) -> CedarSchema:
    """Read a `.cedarschema` file.

    Raises:
        Refused: when it is missing, does not parse, or uses more than one namespace.
    """
    if not path.is_file():
        raise Refused(
            f"{path}: there is no Cedar schema",
            why="roles, objects and actions are typed, or a misspelt attribute would silently never match",
            fix=f"create {path.name} beside the policies",
        )
    text = read_text(path)
    try:
        handle = Schema.from_str(text)
    except ValueError as error:
        raise Refused(
            f"{path}: the Cedar schema does not parse: {error}",
            why="without types no policy can be checked",
            fix="correct the line that the message names",
        ) from None
    return _Reader(handle, path).read()


_TOKEN = re.compile(r'\s+|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_]\w*)|(?P<sign>::|[{}\[\]<>(),;:=?@])')
_ESCAPE = re.compile(r'\\(?:u\{([0-9a-fA-F]+)\}|(["\'\\nrt0*]))')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def _unquote(token: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), token[1:-1])


@dataclass
class _Draft:
    """Declarations as read, before names are resolved. Types are nested tuples."""

    types: dict[str, object] = field(default_factory=dict)
    entities: dict[str, tuple[list[str], dict[str, tuple[object, bool]], bool]] = field(default_factory=dict)
    actions: dict[str, tuple[list[str], dict[str, object]]] = field(default_factory=dict)


class _Reader:
    """A recursive-descent reader of Cedar's canonical schema text."""

    def __init__(self, handle: Schema, path: Path) -> None:
        self.handle = handle
        self.path = path
        self.tokens = list(self._tokenize(str(handle)))
        self.at = 0
        self.namespace = ""
        self.draft = _Draft()

    def _tokenize(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._odd(text[at : at + 20])
            at = match.end()
            if match.lastgroup is not None:
                yield match[0]

    def _odd(self, what: str) -> Refused:
        return Refused(
            f"{self.path}: Seawall does not understand {what!r} in this schema",
            why="a part of the schema that is not understood might be the one that protects you",
            fix="write it with plain entity, action and type declarations in at most one namespace",
        )

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise self._odd(token or "the end")
        self.at += 1
        return token

    def have(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def read(self) -> CedarSchema:
        self._declarations()
        return self._resolved()

    def _declarations(self) -> None:
        readers = {"type": self._type_declaration, "entity": self._entity, "action": self._action}
        while self.peek() not in ("", "}"):
            self._annotations()
            word = self.take()
            if word == "namespace":
                self._namespace()
            elif word in readers:
                readers[word]()
            else:
                raise self._odd(word)

    def _namespace(self) -> None:
        name = self._path()
        if self.namespace or self.draft.entities or self.draft.actions or self.draft.types:
            raise self._odd(f"namespace {name}")
        self.namespace = name
        self.take("{")
        self._declarations()
        self.take("}")
        if self.peek():
            raise self._odd(self.peek())

    def _annotations(self) -> None:
        while self.have("@"):
            self.take()
            if self.have("("):
                self.take()
                self.take(")")

    def _path(self) -> str:
        parts = [self.take()]
        while self.have("::"):
            parts.append(self.take())
        return "::".join(parts)

    def _paths(self) -> list[str]:
        if not self.have("["):
            return [self._path()]
        paths: list[str] = []
        while not self.have("]"):
            paths.append(self._path())
            self.have(",")
        return paths

    def _type_declaration(self) -> None:
        name = self.take()
        self.take("=")
        self.draft.types[name] = self._type()
        self.take(";")

    def _entity(self) -> None:
        name = self.take()
        if self.have("enum"):
            self._paths()
            self.take(";")
            self.draft.entities[name] = ([], {}, False)
            return
        parents = self._paths() if self.have("in") else []
        self.have("=")
        attributes = self._record() if self.peek() == "{" else {}
        tags = self.have("tags")
        if tags:
            self._type()
        self.take(";")
        self.draft.entities[name] = (parents, attributes, tags)

    def _action(self) -> None:
        name = self._name()
        parents = self._paths() if self.have("in") else []
        applies: dict[str, object] = {}
        if self.have("appliesTo"):
            self.take("{")
            while not self.have("}"):
                key = self.take()
                self.take(":")
                applies[key] = self._type() if key == "context" else self._paths()
                self.have(",")
        self.take(";")
        self.draft.actions[name] = ([_last(parent) for parent in parents], applies)

    def _name(self) -> str:
        token = self.take()
        return _unquote(token) if token.startswith('"') else token

    def _record(self) -> dict[str, tuple[object, bool]]:
        self.take("{")
        attributes: dict[str, tuple[object, bool]] = {}
        while not self.have("}"):
            self._annotations()
            name = self._name()
            optional = self.have("?")
            self.take(":")
            attributes[name] = (self._type(), not optional)
            self.have(",")
        return attributes

    def _type(self) -> object:
        if self.peek() == "{":
            return self._record()
        name = self._path()
        if name == "Set" and self.have("<"):
            element = self._type()
            self.take(">")
            return ("Set", element)
        return name

    def _resolved(self) -> CedarSchema:
        entities = {
            self._full(name): EntityType(
                self._full(name), frozenset(map(self._full, parents)), self._attributes(attributes), tags
            )
            for name, (parents, attributes, tags) in self.draft.entities.items()
        }
        actions = {name: self._resolved_action(name) for name in self.draft.actions}
        return CedarSchema(self.handle, self.namespace, entities, actions)

    def _resolved_action(self, name: str) -> ActionType:
        groups: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in groups:
                groups.add(current)
                waiting.extend(self.draft.actions[current][0])
        applies = self.draft.actions[name][1]
        context = self._resolve(applies.get("context", {}))
        if not isinstance(context, Record):
            raise self._odd(f"the context of {name}")
        return ActionType(
            name,
            frozenset(groups),
            frozenset(map(self._full, cast("list[str]", applies.get("principal", [])))),
            frozenset(map(self._full, cast("list[str]", applies.get("resource", [])))),
            context,
        )

    def _attributes(self, draft: Mapping[str, tuple[object, bool]]) -> Mapping[str, Attribute]:
        return {name: Attribute(self._resolve(kind), required) for name, (kind, required) in draft.items()}

    def _full(self, name: str) -> str:
        if self.namespace and not name.startswith(f"{self.namespace}::"):
            return f"{self.namespace}::{name}"
        return name

    def _resolve(self, kind: object) -> CedarType:
        if isinstance(kind, dict):
            return Record(self._attributes(kind))
        if isinstance(kind, tuple):
            return SetOf(self._resolve(kind[1]))
        name = str(kind)
        local = name.removeprefix(f"{self.namespace}::") if self.namespace else name
        if local in self.draft.types:
            return self._resolve(self.draft.types[local])
        if local in self.draft.entities:
            return EntityRef(self._full(local))
        name = name.removeprefix("__cedar::")
        if name in SCALARS:
            return Scalar(cast("ScalarName", name))
        raise self._odd(name)


def _last(path: str) -> str:
    """The id at the end of `Shop::Action::"edit"`."""
    token = path.rpartition("::")[2]
    return _unquote(token) if token.startswith('"') else token
