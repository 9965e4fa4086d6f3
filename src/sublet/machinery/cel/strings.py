"""Text functions: cel-go's strings extension (version 2), regular expressions by RE2, Kubernetes' formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.machinery import gourl, names, regexp
from sublet.machinery.cel import functions as f
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.formatting import affordable, format_text
from sublet.machinery.cel.functions import define
from sublet.machinery.cel.values import NONE, Opaque, Optional

_UPPER = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_LOWER = {after: before for before, after in _UPPER.items()}
_SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return len(text) if not part else text.rfind(part)
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return start if not part else text.rfind(part, 0, start + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    grown = len(text) + (len(text) + 1 if not old else text.count(old)) * len(new)
    affordable(grown)
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if limit == 1:
        return [text]
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    letters = list(text)
    return letters if limit < 0 or limit >= len(letters) else [*letters[: limit - 1], text[limit - 1 :]]


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= last <= len(text):
        raise EvaluationError(f"index out of range: {last}")
    if start > last:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {last}")
    return text[start:last]


def _join(items: list[str], separator: str = "") -> str:
    affordable(sum(map(len, items)) + len(separator) * len(items))
    return separator.join(items)


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
            "\\": "\\\\", '"': '\\"'}  # fmt: skip


def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


# -- regular expressions --


def compiled(text: str) -> Any:
    """A regular expression. Raises ``EvaluationError``."""
    try:
        return regexp.compiled(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return "" if found is None else str(found.group())


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        found.append(match.group())
    return found


# -- formats --


def _uri(text: str) -> Sequence[str]:
    try:
        gourl.parse_request(text)
    except gourl.UnreadableURLError as error:
        return [str(error)]
    return ()


def _by(pattern: str, message: str) -> Callable[[str], Sequence[str]]:
    compiled = re.compile(pattern + r"\Z")
    return lambda text: () if compiled.match(text) else [message]


def _prefix(check: Callable[[str], Sequence[str]]) -> Callable[[str], Sequence[str]]:
    """Names that end in "-" are fine as a prefix of generated ones; upstream drops the character before it too."""
    return lambda text: check(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)


def _date(time: bool) -> Callable[[str], Sequence[str]]:
    def check(text: str) -> Sequence[str]:
        try:
            v.timestamp(text if time else f"{text}T00:00:00Z")
        except EvaluationError:
            return ["invalid datetime" if time else "invalid date"]
        return ()

    return check


_FORMATS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
    "dns1123LabelPrefix": _prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "uri": _uri,
    "uuid": _by("[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}", "does not match the UUID format"),
    "byte": _by("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "invalid base64"),
    "date": _date(False),
    "datetime": _date(True),
}  # fmt: skip


class Format(Opaque):
    """A named format; ``validate`` tells what is wrong with a text."""

    __slots__ = ("name",)
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def validate(self, text: str) -> Optional:
        wrong = list(_FORMATS[self.name](text))
        return Optional(wrong, True) if wrong else NONE


_PATTERN_COST = {
    "dns1123Label": 8, "dns1123Subdomain": 15, "dns1035Label": 8, "qualifiedName": 15, "labelValue": 10,
    "dns1123LabelPrefix": 8, "dns1123SubdomainPrefix": 15, "dns1035LabelPrefix": 8,
}  # fmt: skip
_GREATEST_PATTERN_COST = 32


def _validate_price(arguments: Sequence[Any]) -> int:
    form, text = arguments
    return f.tenth(1 + len(text)) * _PATTERN_COST.get(form.name, _GREATEST_PATTERN_COST)


def _named(name: str) -> Optional:
    return Optional(Format(name), True) if name in _FORMATS else NONE


def _format_of(name: str) -> Callable[[], Format]:
    return lambda: Format(name)


_F = "kubernetes.NamedFormat"
STRINGS = (
    define("charAt", "string.(int) string", _char_at),
    define("indexOf", "string.(string) int; string.(string, int) int", _index_of, f.traverse, f.found),
    define("lastIndexOf", "string.(string) int; string.(string, int) int", _last_index_of, f.traverse, f.found),
    define("lowerAscii", "string.() string", lambda t: t.translate(_UPPER), f.traverse),
    define("upperAscii", "string.() string", lambda t: t.translate(_LOWER), f.traverse),
    define("replace", "string.(string, string) string; string.(string, string, int) string", _replace, f.traverse_twice),
    define("split", "string.(string) list(string); string.(string, int) list(string)", _split, f.traverse_twice),
    define("substring", "string.(int) string; string.(int, int) string", _substring, f.traverse),
    define("trim", "string.() string", lambda t: t.strip(_SPACE), f.traverse),
    define("join", "list(string).() string; list(string).(string) string", _join, f.each),
    define("format", "string.(list(dyn)) string", format_text, f.traverse),
    define("strings.quote", "(string) string", _quote, f.traverse),
    define("matches", "string.(string) bool; (string, string) bool", _matches, f.search),
    define("find", "string.(string) string", _find, f.search),
    define("findAll", "string.(string) list(string); string.(string, int) list(string)", _find_all, f.search),
    define("format.named", f"(string) optional({_F})", _named),
    define("validate", f"{_F}.(string) optional(list(string))", Format.validate,
           lambda s: f.tenth(s[1]) * _GREATEST_PATTERN_COST, _validate_price),
    *(define(f"format.{name}", f"() {_F}", _format_of(name)) for name in _FORMATS),
    define("jsonpatch.escapeKey", "(string) string",
           lambda t: t.replace("~", "~0").replace("/", "~1"), f.traverse),
)  # fmt: skip
