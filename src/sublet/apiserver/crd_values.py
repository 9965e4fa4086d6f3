"""Whether a value fits the schema of a custom resource: types, bounds, enums, formats, junctors.

Findings, texts, order and what is told of a failed junctor are kube-openapi's validator's. With the value that was
there before, what was wrong in a part that did not change is tolerated (validation ratcheting).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.apiserver import crd_formats
from sublet.machinery import codec, regexp
from sublet.machinery.schema import Schema
from sublet.machinery.status import (
    FieldError,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
    type_invalid,
)

NEW: Any = object()
"""Instead of a value that was there before: nothing was, or it cannot be told which."""

TYPE_META = ("apiVersion", "kind")
"""At the root, what is wrong with them is never tolerated: old and new were both brought to the version asked for."""


def validate(value: Any, schema: Schema, old: Any = NEW, *, base: str = "") -> list[FieldError]:
    """Every way in which a value breaks its schema.

    ``base``: the field that holds the value; texts name fields from the value on.
    """
    return _Walk(base).value(value, schema, "", old)[0]


def unchanged(new: Any, old: Any, schema: Schema | None) -> bool:
    """Whether a value says the same as before: the order of a list with keys does not count."""
    if isinstance(new, dict):
        if not isinstance(old, dict) or new.keys() != old.keys():
            return False
        return all(
            unchanged(value, old[key], None if schema is None else schema.child(key))
            for key, value in new.items()
        )
    if not isinstance(new, list):
        return codec.same(new, old)
    if not isinstance(old, list) or len(new) != len(old):
        return False
    items = None if schema is None else schema.items
    if schema is None or schema.list_type != "map":
        return all(unchanged(one, other, items) for one, other in zip(new, old, strict=True))
    before = correlated(schema, new, old)
    return all(unchanged(item, before(index), items) for index, item in enumerate(new))


def correlated(schema: Schema, new: Sequence[Any], old: Any) -> Callable[[int], Any]:
    """What an item of a list was before (:data:`NEW` if that cannot be told): only lists with keys tell."""
    if schema.list_type != "map" or not isinstance(old, list):
        return lambda _index: NEW
    keys = schema.list_keys
    before = {_key(item, keys): item for item in reversed(old) if isinstance(item, dict)}

    def find(index: int) -> Any:
        item = new[index]
        return before.get(_key(item, keys), NEW) if isinstance(item, dict) else NEW

    return find


def _key(item: Mapping[str, Any], keys: Sequence[str]) -> bytes:
    return codec.encode_json([item.get(key) for key in keys])


Found = tuple[list[FieldError], int]
"""Errors, and how many checks were made: of failed alternatives, the one with most is told of."""


class _Walk:
    def __init__(self, base: str) -> None:
        self.base = base

    def field(self, name: str) -> str:
        """The path of a field error for a name as texts state it, which may begin with a dot."""
        below = name.removeprefix(".")
        if not self.base:
            return below or "<nil>"
        return f"{self.base}.{below}" if below else self.base

    def value(self, value: Any, schema: Schema, name: str, old: Any = NEW) -> Found:
        errors, count = self._node(value, schema, name, old)
        if errors and old is not NEW and unchanged(value, old, schema):
            return [], count
        return errors, count

    def _node(self, value: Any, schema: Schema, name: str, old: Any) -> Found:
        document = schema.document
        if value is None:
            return self._null(schema, name), 1
        errors: list[FieldError] = []
        count = 3  # junctors, enum, and the node itself
        if document.get("type") or document.get("x-kubernetes-int-or-string"):
            wrong = self._type(value, schema, name)
            if wrong is not None:
                errors.append(wrong)
            count += 1 if wrong is not None else 2
        if not _JUNCTORS.isdisjoint(document):
            found, made = self._junctors(value, schema, name, old)
            errors += found
            count += made
        if isinstance(value, str):
            errors += self._string(value, document, name)
            count += 1
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            errors += self._number(value, document, name)
            count += 2
        elif isinstance(value, list):
            found, made = self._list(value, schema, name, old)
            errors += found
            count += made
        if document.get("enum") and not any(_equal(value, each) for each in document["enum"]):
            errors.append(not_supported(self.field(name), value, [_shown(v) for v in document["enum"]]))
        if isinstance(value, dict):
            found, made = self._object(value, schema, name, old)
            errors += found
            count += made
        return (list(dict.fromkeys(errors)) if len(errors) > 1 else errors), count

    def _null(self, schema: Schema, name: str) -> list[FieldError]:
        errors = []
        wanted = _wanted(schema)
        if wanted and not schema.nullable:
            errors.append(self._mistyped(name, wanted, "null"))
        stated = schema.document.get("enum")
        if stated and None not in stated:
            errors.append(not_supported(self.field(name), None, [_shown(v) for v in stated]))
        return errors

    def _type(self, value: Any, schema: Schema, name: str) -> FieldError | None:
        if schema.int_or_string:
            # As to a schema with both types: a number without a fraction is an integer.
            fits = isinstance(value, str) or _fits(value, "integer")
        else:
            fits = _fits(value, schema.type)
        return None if fits else self._mistyped(name, _wanted(schema), _type_name(value))

    def _mistyped(self, name: str, wanted: str, found: str) -> FieldError:
        return type_invalid(self.field(name), found, f'{name} in body must be of type {wanted}: "{found}"')

    def _invalid(self, name: str, value: Any, why: str) -> FieldError:
        return invalid(self.field(name), value, f"{name} in body {why}")

    # -- what only one type has --

    def _string(self, value: str, document: Mapping[str, Any], name: str) -> list[FieldError]:
        """At most one finding of length and pattern, and one of the format."""
        errors = []
        most, least, pattern = document.get("maxLength"), document.get("minLength"), document.get("pattern")
        if most is not None and len(value) > most:
            errors.append(too_long(self.field(name), most))
        elif least is not None and len(value) < least:
            errors.append(self._invalid(name, value, f"should be at least {least} chars long"))
        elif pattern and not _matches(pattern, value):
            errors.append(self._invalid(name, value, f"should match '{pattern}'"))
        if document.get("format") and document.get("type") in ("string", None, ""):
            known = crd_formats.known(document["format"])
            if known is not None and not known[1](value):
                why = f"{name} in body must be of type {known[0]}: {_quoted(value)}"
                errors.append(type_invalid(self.field(name), value, why))
        return errors

    def _number(self, value: float, document: Mapping[str, Any], name: str) -> list[FieldError]:
        errors = []
        step = document.get("multipleOf")
        if step and not _is_multiple(value, step):
            errors.append(self._invalid(name, value, f"should be a multiple of {_number(step)}"))
        low, high = document.get("minimum"), document.get("maximum")
        if low is not None and (value < low or (document.get("exclusiveMinimum") and value == low)):
            word = "greater than" if document.get("exclusiveMinimum") else "greater than or equal to"
            errors.append(self._invalid(name, value, f"should be {word} {_number(low)}"))
        if high is not None and (value > high or (document.get("exclusiveMaximum") and value == high)):
            word = "less than" if document.get("exclusiveMaximum") else "less than or equal to"
            errors.append(self._invalid(name, value, f"should be {word} {_number(high)}"))
        return errors

    def _list(self, value: list[Any], schema: Schema, name: str, old: Any) -> Found:
        errors: list[FieldError] = []
        count = 2
        if schema.items is not None:
            before = correlated(schema, value, old)
            for index, item in enumerate(value):
                found, made = self.value(item, schema.items, f"{name}[{index}]", before(index))
                errors += found
                count += made
        least, most = schema.document.get("minItems"), schema.document.get("maxItems")
        if least is not None and len(value) < least:
            errors.append(self._invalid(name, len(value), f"should have at least {least} items"))
        if most is not None and len(value) > most:
            errors.append(too_many(self.field(name), len(value), most))
        return errors, count

    def _object(self, value: dict[str, Any], schema: Schema, name: str, old: Any) -> Found:
        least, most = schema.document.get("minProperties"), schema.document.get("maxProperties")
        if least is not None and len(value) < least:
            return [self._invalid(name, len(value), f"should have at least {least} properties")], 1
        if most is not None and len(value) > most:
            return [too_many(self.field(name), len(value), most)], 1
        errors: list[FieldError] = []
        count = 1
        before = old if isinstance(old, dict) else {}
        for key, item in value.items():
            child = schema.child(key)
            if child is None:
                continue
            was = before.get(key, NEW)
            if not name and not self.base and key in TYPE_META:
                was = NEW
            found, made = self.value(item, child, f"{name}.{key}" if name else key, was)
            errors += found
            count += made
        for key in schema.document.get("required") or ():
            if key not in value:
                errors.append(required(self.field(f"{name}.{key}")))
        return errors, count

    # -- junctors --

    def _junctors(self, value: Any, schema: Schema, name: str, old: Any) -> Found:
        document = schema.document
        errors: list[FieldError] = []
        count = 0
        if document.get("anyOf"):
            found, made = self._any_of(value, schema, name, old)
            errors, count = errors + found, count + made
        if document.get("oneOf"):
            found, made = self._one_of(value, schema, name, old)
            errors, count = errors + found, count + made
        stated = document.get("allOf") or ()
        held = 0
        for part in stated:
            found, made = self._part(value, schema, part, name, old)
            errors, count, held = errors + found, count + made, held + (not found)
        if held != len(stated):
            none = "" if held else ". None validated"
            errors.append(self._refused(f"{_quoted(name)} must validate all the schemas (allOf){none}"))
        negated = document.get("not")
        if negated is not None and not self._part(value, schema, negated, name, old)[0]:
            errors.append(self._refused(f"{_quoted(name)} must not validate the schema (not)"))
        return errors, count

    def _part(self, value: Any, schema: Schema, part: Mapping[str, Any], name: str, old: Any) -> Found:
        # A part itself is not compared with what was; the fields below it are.
        return self._node(value, _part_of(schema, part), name, old)

    def _any_of(self, value: Any, schema: Schema, name: str, old: Any) -> Found:
        best: Found | None = None
        for part in schema.document["anyOf"]:
            found = self._part(value, schema, part, name, old)
            if not found[0]:
                return found
            best = found if best is None or found[1] > best[1] else best
        why = self._refused(f"{_quoted(name)} must validate at least one schema (anyOf)")
        return [why, *(best or ([], 0))[0]], (best or ([], 0))[1]

    def _one_of(self, value: Any, schema: Schema, name: str, old: Any) -> Found:
        best: Found = ([], 0)
        holding: list[Found] = []
        for part in schema.document["oneOf"]:
            found = self._part(value, schema, part, name, old)
            if not found[0]:
                holding.append(found)
            elif not holding and found[1] > best[1]:
                best = found
        if len(holding) == 1:
            return holding[0]
        told = f"Found {len(holding)} valid alternatives" if holding else "Found none valid"
        why = self._refused(f"{_quoted(name)} must validate one and only one schema (oneOf). {told}")
        return ([why], 0) if holding else ([why, *best[0]], best[1])

    def _refused(self, why: str) -> FieldError:
        """Findings of junctors stand at no field of their own."""
        return invalid(self.base or "<nil>", "", why)


_JUNCTORS = frozenset(("allOf", "anyOf", "oneOf", "not"))


def _part_of(schema: Schema, part: Mapping[str, Any]) -> Schema:
    known: dict[int, Schema] = schema.__dict__.setdefault("_parts", {})
    found = known.get(id(part))
    if found is None:
        found = known[id(part)] = Schema(part, schema.definitions)
    return found


def _wanted(schema: Schema) -> str:
    return "integer,string" if schema.int_or_string else schema.type


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            if isinstance(value, float):
                return value.is_integer()
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return False


def _type_name(value: Any) -> str:
    for kind in ("boolean", "integer", "number", "string", "array"):
        if _fits(value, kind) and not (kind == "integer" and isinstance(value, float)):
            return kind
    return "object"


def _equal(value: Any, stated: Any) -> bool:
    return codec.same(value, stated)


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and float(step).is_integer():
        return value % int(step) == 0
    quotient = value / step
    return math.isclose(quotient, round(quotient), rel_tol=0, abs_tol=1e-9)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else codec.encode_json(value).decode()


def _quoted(text: str) -> str:
    return codec.encode_json(text).decode()


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _matches(pattern: str, value: str) -> bool:
    """A pattern that is none (an older release let it in) refuses nothing."""
    try:
        return regexp.compiled(pattern).search(value) is not None
    except ValueError:
        return True
