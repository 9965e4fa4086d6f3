"""YAML to JSON values and back, by the rules of ``sigs.k8s.io/yaml`` (YAML 1.1 without dates).

Imported when the first YAML body arrives: PyYAML weighs 2 MB.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sublet.machinery.codec import DecodeError

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"
_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_is_integer = re.compile(r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)").fullmatch
_is_float = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?").fullmatch
_is_infinite = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)").fullmatch

_NODE_LIMIT = 4_000_000
"""Values one document may expand to through aliases; real ones of the largest allowed size stay far below."""


class _Composer(_Loader):  # type: ignore[misc]
    """Gives nodes; what a plain scalar means is decided here, not by PyYAML's resolvers."""

    def resolve(self, kind: type, value: Any, implicit: tuple[bool, bool]) -> str:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else f"{_TAG}str"
        return f"{_TAG}seq" if kind is SequenceNode else f"{_TAG}map"


class _Writer(_Dumper):  # type: ignore[misc]
    """Never writes aliases, writes texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_string(writer: Any, text: str) -> Any:
    if "\n" in text and not text.isspace() and not re.search(r"[ \t]\n|[\x00-\x08\x0b-\x1f\x7f]", text):
        return writer.represent_scalar(f"{_TAG}str", text, style="|")
    style = "'" if text in _BOOLEANS or _is_integer(text) or _is_float(text) else None
    return writer.represent_scalar(f"{_TAG}str", text, style='"' if style else None)


_Writer.add_representer(str, _write_string)


def decode(data: bytes | str, duplicates: list[str] | None, exact: bool = False) -> Any:
    found = list(_documents(data, duplicates, exact))
    while len(found) > 1 and found[-1] is None:
        found.pop()
    if len(found) > 1:
        raise DecodeError(
            "error converting YAML to JSON: yaml: found more than one document; send them one at a time"
        )
    return found[0] if found else None


def decode_documents(data: bytes | str) -> list[Any]:
    return [document for document in _documents(data, None) if document is not None]


def encode(value: Any) -> bytes:
    text: bytes = yaml.dump(
        value,
        Dumper=_Writer,
        default_flow_style=False,
        sort_keys=True,
        allow_unicode=True,
        width=1 << 30,
        encoding="utf-8",
    )
    return text.removesuffix(b"...\n")


def _documents(data: bytes | str, duplicates: list[str] | None, exact: bool = False) -> Iterator[Any]:
    try:
        text = data if isinstance(data, str) else data.decode()
        for node in yaml.compose_all(text, Loader=_Composer):
            yield _Reader(duplicates).value(node) if node is not None else None
    except yaml.YAMLError as error:
        raise DecodeError(f"error converting YAML to JSON: yaml: {_explain(error, exact)}") from None
    except UnicodeDecodeError:
        raise DecodeError("error converting YAML to JSON: yaml: invalid UTF-8") from None
    except RecursionError:
        raise DecodeError("error converting YAML to JSON: yaml: nested too deeply") from None


def _explain(error: yaml.YAMLError, exact: bool) -> str:
    """As go-yaml words it: lines count from 0 except where its scanner finds the fault, and the first has none.

    ``exact``: the line as an editor counts it.
    """
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if exact:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        return f"line {mark.line + 1}: {problem}" if mark else str(problem)
    line = getattr(getattr(error, "problem_mark", None), "line", 0)
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    line = line or getattr(getattr(error, "context_mark", None), "line", 0)
    return f"line {line}: {problem}" if line else str(problem)


class _Reader:
    """Makes the JSON values of one document from its nodes; an alias becomes a copy."""

    def __init__(self, duplicates: list[str] | None) -> None:
        self.duplicates = duplicates
        self.made = 0
        self.open: set[int] = set()

    def value(self, node: Node) -> Any:
        self.made += 1
        if self.made > _NODE_LIMIT:
            raise DecodeError("error converting YAML to JSON: yaml: document contains excessive aliasing")
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if id(node) in self.open:
            raise self.fail(node, "anchor contains itself")
        self.open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(child) for child in node.value]
            return self.mapping(cast(MappingNode, node))
        finally:
            self.open.discard(id(node))

    def mapping(self, node: MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                merged = self.merge(value_node, merged)
                continue
            key = self.key(key_node)
            if key in found and self.duplicates is not None:
                self.duplicates.append(f'line {key_node.start_mark.line + 1}: key "{key}" already set in map')
            found[key] = self.value(value_node)
        return {**merged, **found} if merged else found

    def merge(self, node: Node, merged: dict[str, Any]) -> dict[str, Any]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, MappingNode):
                raise self.fail(source, "map merge requires map or sequence of maps as the value")
            merged = {**self.value(source), **merged}
        return merged

    def key(self, node: Node) -> str:
        value = _scalar(node) if isinstance(node, ScalarNode) else None
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        raise self.fail(node, "a map's key must be a text, a number or a boolean")

    def fail(self, node: Node, why: str) -> DecodeError:
        return DecodeError(f"error converting YAML to JSON: yaml: line {node.start_mark.line + 1}: {why}")


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "<<" and node.tag == _PLAIN


def _scalar(node: ScalarNode) -> Any:
    text, tag = node.value, node.tag.removeprefix(_TAG)
    if tag == "binary":
        return base64.b64decode(text).decode("utf-8", "replace")
    if tag == "str":
        return text
    if tag == "float":
        return float(_plain(text, node))
    return _plain(text, node)


def _plain(text: str, node: ScalarNode) -> Any:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _is_integer(text):
        return _integer(text)
    if _is_float(text):
        number = float(text)
        return int(number) if number.is_integer() and abs(number) < 1e15 else number
    if _is_infinite(text):
        raise DecodeError(
            f"error converting YAML to JSON: yaml: line {node.start_mark.line + 1}: {text} has no place in JSON"
        )
    return text


def _integer(text: str) -> Any:
    digits = text.replace("_", "")
    sign = -1 if digits[0] == "-" else 1
    bare = digits.lstrip("+-")
    try:
        if len(bare) > 1 and bare[0] == "0" and bare[1].isdigit():
            return sign * int(bare, 8)
        number = sign * int(bare, 0)
    except ValueError:
        # 09 is no octal number: a float, as Go's parser takes it next.
        return _finite(float(digits), text)
    return number if -(1 << 63) <= number < 1 << 64 else float(digits)


def _finite(number: float, text: str) -> Any:
    if math.isfinite(number):
        return int(number) if number.is_integer() else number
    return text
