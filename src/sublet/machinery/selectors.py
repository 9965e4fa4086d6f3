"""Label and field selectors: which objects are meant.

Source: apimachinery's labels and fields packages; reference/kubernetes-api.md B.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from sublet.machinery import names
from sublet.machinery.status import BadRequest, invalid

_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_SET_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_token = re.compile(r"[ \t\r\n]*(==|!=|[()=!<>,]|[^()=!<>, \t\r\n]+|$)").match
_integer = re.compile(r"[+-]?[0-9]+").fullmatch


class Requirement(Struct, frozen=True):
    """One condition on one label."""

    key: str
    operator: str
    """``in notin = != exists ! > <``; ``==`` is read as ``=``."""
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _integer(value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == ">" else int(value) < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{self.operator}{self.values[0]}"


class Selector(Struct, frozen=True):
    """Conditions that must all hold."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Matches no object at all (an absent LabelSelector)."""

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        for requirement in self.requirements:  # noqa: SIM110 - a generator costs twice on the watch path
            if not requirement.matches(labels):
                return False
        return True

    def exact(self, key: str) -> str | None:
        """The only value the label may have, when the selector says so."""
        for requirement in self.requirements:
            if (
                requirement.key == key
                and requirement.operator in ("=", "in")
                and len(requirement.values) == 1
            ):
                return requirement.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


@lru_cache(maxsize=512)
def parse(text: str) -> Selector:
    """``a=b,c in (d,e),!f`` and so on; raises :class:`BadRequest` naming what was found and what was expected."""
    found = _Parser(text).selector()
    return Selector(tuple(sorted(found, key=lambda r: r.key))) if found else EVERYTHING


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector (matchLabels, matchExpressions): None selects nothing, ``{}`` everything."""
    if selector is None:
        return NOTHING
    found = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _SET_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise BadRequest(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        found.append(_requirement(expression.get("key", ""), operator, expression.get("values") or ()))
    return Selector(tuple(sorted(found, key=lambda r: r.key)))


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """Equality with each of these labels; the selector of a Service or ReplicationController."""
    return Selector(tuple(Requirement(k, "=", (v,)) for k, v in sorted((labels or {}).items())))


def _requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """Checked: raises :class:`BadRequest`."""
    if messages := names.qualified_name(key):
        raise BadRequest(str(invalid("key", key, "; ".join(messages))))
    if operator in ("in", "notin") and not values:
        raise BadRequest(
            str(invalid("values", list(values), "for 'in', 'notin' operators, values set can't be empty"))
        )
    if operator in (">", "<") and not _integer(values[0]):
        raise BadRequest(
            str(invalid("values[0]", values[0], "for 'Gt', 'Lt' operators, the value must be an integer"))
        )
    if operator in ("exists", "!") and values:
        raise BadRequest(
            str(invalid("values", list(values), "values set must be empty for exists and does not exist"))
        )
    for index, value in enumerate(values):
        if messages := names.label_value(value):
            raise BadRequest(str(invalid(f"values[{index}][{key}]", value, "; ".join(messages))))
    return Requirement(key, operator, tuple(values))


class _Parser:
    """Tokens one by one; ``in`` and ``notin`` are words like others where a value may stand."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        while found := _token(text, position):
            if not found[1]:
                break
            self.tokens.append(found[1])
            position = found.end()
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def selector(self) -> list[Requirement]:
        found: list[Requirement] = []
        if not self.peek():
            return found
        if not (_is_word(self.peek()) or self.peek() == "!"):
            raise BadRequest(f"found '{self.peek()}', expected: !, identifier, or 'end of string'")
        while True:
            try:
                found.append(self.requirement())
            except BadRequest as error:
                raise BadRequest(f"unable to parse requirement: {error.message}") from None
            token = self.take()
            if not token:
                return found
            if token != ",":
                raise BadRequest(f"found '{token}', expected: ',' or 'end of string'")
            if not (_is_word(self.peek()) or self.peek() == "!"):
                raise BadRequest(f"found '{self.peek()}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        absent = self.peek() == "!"
        if absent:
            self.take()
        key = self.take()
        if not _is_word(key):
            raise BadRequest(f"found '{key}', expected: identifier")
        if messages := names.qualified_name(key):
            raise BadRequest(str(invalid("<nil>", key, "; ".join(messages))))
        if absent or self.peek() in ("", ","):
            return Requirement(key, "!" if absent else "exists")
        operator = self.take()
        if operator in ("in", "notin"):
            return _requirement(key, operator, sorted(self.values()))
        if operator in ("=", "==", "!=", ">", "<"):
            return _requirement(key, "=" if operator == "==" else operator, (self.value(),))
        raise BadRequest(f"found '{operator}', expected: {_OPERATORS}")

    def value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        token = self.take()
        if not _is_word(token):
            raise BadRequest(f"found '{token}', expected: identifier")
        return token

    def values(self) -> set[str]:
        if (token := self.take()) != "(":
            raise BadRequest(f"found '{token}' expected: '('")
        if self.peek() == ")":
            self.take()
            return set()
        if self.peek() != "," and not _is_word(self.peek()):
            raise BadRequest(f"found '{self.peek()}', expected: ',', ')' or identifier")
        found: set[str] = set()
        while True:
            found.add(self.take() if _is_word(self.peek()) else "")
            token = self.take()
            if token == ")":
                return found
            if token != ",":
                raise BadRequest(f"found '{token}', expected: ',' or ')'")
            if self.peek() not in (",", ")") and not _is_word(self.peek()):
                raise BadRequest(f"found '{self.peek()}', expected: ',', or identifier")


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "()=!<>,"


class FieldRequirement(Struct, frozen=True):
    field: str
    operator: str
    """``=`` or ``!=``."""
    value: str

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.field}{self.operator}{escaped}"


class FieldSelector(Struct, frozen=True):
    """Conditions on fields that must all hold; which fields exist is the kind's matter."""

    requirements: tuple[FieldRequirement, ...] = ()

    @property
    def everything(self) -> bool:
        return not self.requirements

    def matches(self, lookup: Callable[[str], str]) -> bool:
        """``lookup`` gives the value of a field label, ``""`` where it is unset."""
        for requirement in self.requirements:
            if (lookup(requirement.field) == requirement.value) != (requirement.operator == "="):
                return False
        return True

    def exact(self, name: str) -> str | None:
        """The value that field must have, when the selector says so."""
        for requirement in self.requirements:
            if requirement.field == name and requirement.operator == "=":
                return requirement.value
        return None

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


@lru_cache(maxsize=512)
def parse_fields(text: str) -> FieldSelector:
    """``metadata.name=x,status.phase!=Running``; a backslash escapes ``,``, ``=`` and itself in values."""
    found = []
    for term in re.findall(r"(?:[^\\,]|\\.|\\$)+", text, re.DOTALL):
        parts = re.match(r"((?:[^\\=!]|\\.|!(?!=))*)(!=|==|=)(.*)", term, re.DOTALL)
        if not parts:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        value = _unescape(parts[3])
        found.append(FieldRequirement(parts[1], "!=" if parts[2] == "!=" else "=", value))
    return FieldSelector(tuple(sorted(found, key=lambda r: r.field)))


def _unescape(text: str) -> str:
    value, position = "", 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
            char = text[position : position + 1]
            if char not in ("\\", ",", "="):
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{char}")
        elif char in ",=":
            # Upstream prints the character's code point.
            raise BadRequest(f"invalid field selector: unescaped character in value: {ord(char)}")
        value += char
        position += 1
    return value


def go_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector as Go's generated ``String`` writes it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{each.get('key')},Operator:{each.get('operator')},"
        f"Values:[{' '.join(each.get('values') or ())}],}},"
        for each in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
