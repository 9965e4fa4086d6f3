"""Server-side apply: merging a configuration into an object, with ownership and conflicts.

Source: structured-merge-diff's merge package and apimachinery's managedfields; reference/kubernetes-api.md B.12.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container
from typing import Any

from sublet.machinery import fieldsets, managedfields, objects, typed
from sublet.machinery.codec import DecodeError, copied, decode_json, encode_json
from sublet.machinery.fieldsets import Fields
from sublet.machinery.kind import Object
from sublet.machinery.managedfields import APPLY, EVERYTHING, UPDATE, Entry, Scope
from sublet.machinery.schema import Schema
from sublet.machinery.shapes import (
    ATOMIC,
    KEYED,
    MAP,
    SET,
    STRUCT,
    Shape,
    kind_for,
    owned,
    repeated_in,
    shape_of,
)
from sublet.machinery.status import BadRequest, Cause, Conflict, StatusError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BEFORE_FIRST = "before-first-apply"
_ANNOTATIONS_LIMIT = 256 * 1024


def apply(
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    force: bool,
    now: float,
    schema: Schema | None,
    scope: Scope = EVERYTHING,
    versions: Collection[str] | None = None,
) -> Object:
    """The object after ``manager`` applied its configuration, managedFields included.

    ``scope``: what can be owned through this endpoint; the rest of the configuration is merged too, for the caller to
    restore, but is nobody's and conflicts with nobody. ``versions``: as of ``managedfields.update``.
    Raises :class:`Conflict` with a cause per field, a ``StatusError`` of code 500 for what the schema does not declare. An
    apply that changes nothing gives an object equal to ``live``.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    shape = shape_of(schema)
    config = _configuration(applied, shape, schema)
    base, entries = _base(live, applied, schema, api_version, now)
    entries = managedfields.renewed(entries, schema, versions)
    attempt = _Attempt(base, entries, config, shape, schema, manager, api_version, subresource, now, scope)
    try:
        result = attempt.run(force)
    except _ConflictsError as error:
        if manager != "kubectl" or not error.within(_allowed(live, shape)):
            raise error.to_status() from None
        result = attempt.run(True)
    if manager == "kubectl":
        _renew_last_applied(result, applied)
    return result


def _configuration(applied: Object, shape: Shape, schema: Schema | None) -> Object:
    suspects: list[Shape] = []
    config: Object = _cleaned(copied(applied), shape, suspects)
    if suspects and (found := typed.problems(config, schema)):
        raise refused(applied, typed.listed(found))
    return config


def _base(
    live: Object | None, applied: Object, schema: Schema | None, api_version: str, now: float
) -> tuple[Object, list[Entry]]:
    """What to merge into, without managedFields, and its entries: of an object that has none, one for all."""
    if live is None:
        empty: Object = {"apiVersion": applied.get("apiVersion"), "kind": applied.get("kind"), "metadata": {}}
        return empty, []
    base = copied(live)
    entries = base["metadata"].pop("managedFields", None) or []
    if not entries:
        there, _ = managedfields.changes(None, base, schema)
        if there:
            entries = [managedfields.entry_for(_BEFORE_FIRST, UPDATE, api_version, "", now, there)]
    return base, entries


def refused(applied: Object, why: str) -> StatusError:
    """The refusal of a configuration that the schema does not allow: to upstream an error without a reason."""
    where = f"{objects.namespace(applied)}/{objects.name(applied)}; {shown_type(applied)}"
    return StatusError(f"failed to create typed patch object ({where}): {why}", code=500, reason="")


def shown_type(obj: Object) -> str:
    """``apps/v1, Kind=Deployment``; ``/v1, Kind=Pod`` in the core group."""
    version = str(obj.get("apiVersion") or "")
    return f"{version if '/' in version else f'/{version}'}, Kind={obj.get('kind') or ''}"


class _ConflictsError(Exception):
    """Fields that other managers own and the configuration would change."""

    def __init__(self, found: list[tuple[Entry, Fields]]) -> None:
        super().__init__("conflicts")
        self.found = found

    def within(self, allowed: Fields) -> bool:
        return all(not fieldsets.difference(fields, allowed) for _, fields in self.found)

    def to_status(self) -> Conflict:
        listed = [(_named(entry), path) for entry, fields in self.found for path in fieldsets.paths(fields)]
        listed.sort()
        causes = [Cause("FieldManagerConflict", f"conflict with {who}", path) for who, path in listed]
        if len(listed) == 1:
            who, path = listed[0]
            return Conflict(f"Apply failed with 1 conflict: conflict with {who}: {path}", causes=causes)
        lines: list[str] = []
        for who in dict.fromkeys(who for who, _ in listed):
            lines.append(f"conflicts with {who}:")
            lines += [f"- {path}" for other, path in listed if other == who]
        return Conflict(f"Apply failed with {len(listed)} conflicts: " + "\n".join(lines), causes=causes)


def _named(entry: Entry) -> str:
    """``"kubectl-edit" with subresource "scale" using apps/v1``."""
    text = json.dumps(entry.get("manager", ""), ensure_ascii=False)
    if entry.get("subresource"):
        text += f" with subresource {json.dumps(entry['subresource'])}"
    if entry.get("operation") == UPDATE:
        text += f" using {entry.get('apiVersion', '')}"
    return text


class _Attempt:
    """One apply; :meth:`run` may be repeated with force."""

    def __init__(
        self,
        base: Object,
        entries: list[Entry],
        config: Object,
        shape: Shape,
        schema: Schema | None,
        manager: str,
        api_version: str,
        subresource: str,
        now: float,
        scope: Scope,
    ) -> None:
        self.scope = scope
        self.base, self.entries, self.config, self.shape, self.schema = base, entries, config, shape, schema
        self.manager, self.api_version, self.subresource, self.now = manager, api_version, subresource, now

    def run(self, force: bool) -> Object:
        mine = [entry for entry in self.entries if self._is_mine(entry)]
        others = [entry for entry in self.entries if not self._is_mine(entry)]
        config_set = self.scope.of(owned(self.shape, self.config))
        merged = merge(self.shape, self.base, self.config)
        last: Fields = {}
        emptied: list[tuple[dict[str, Any], str]] = []
        for entry in mine:
            last = fieldsets.union(last, entry.get("fieldsV1") or {})
        if last:
            held = config_set
            for entry in others:
                held = fieldsets.union(held, entry.get("fieldsV1") or {})
            gone = fieldsets.difference(_with_parents(self.shape, last), _with_parents(self.shape, held))
            merged = _removed(self.shape, merged, gone, emptied)
        changed, vanished = map(self.scope.of, managedfields.changes(self.base, merged, self.schema))
        if managedfields.is_built_in(self.schema):
            # Upstream leaves null, which Go's types read as "not set".
            for holder, name in emptied:
                del holder[name]
        if not force:
            self._refuse_conflicts(others, changed)
        config_set = fieldsets.difference(config_set, managedfields.STRIPPED)
        return self._owned(merged, mine, others, config_set, changed, vanished)

    def _is_mine(self, entry: Entry) -> bool:
        return (
            entry.get("operation") == APPLY
            and entry.get("manager", "") == self.manager
            and entry.get("subresource", "") == self.subresource
        )

    def _refuse_conflicts(self, others: list[Entry], changed: Fields) -> None:
        found = [(e, fieldsets.intersection(e.get("fieldsV1") or {}, changed)) for e in others]
        conflicts = [(entry, fields) for entry, fields in found if fields]
        if conflicts:
            raise _ConflictsError(conflicts)

    def _owned(
        self,
        merged: Object,
        mine: list[Entry],
        others: list[Entry],
        config_set: Fields,
        changed: Fields,
        vanished: Fields,
    ) -> Object:
        kept: list[Entry] = []
        for entry in others:
            fields = entry.get("fieldsV1") or {}
            left = fieldsets.difference(fieldsets.difference(fields, changed), vanished)
            if left:
                kept.append(entry if left is fields else entry | {"fieldsV1": left})
        same = (
            len(mine) == 1
            and mine[0].get("apiVersion") == self.api_version
            and fieldsets.same(mine[0].get("fieldsV1") or {}, config_set)
            and not changed
            and not vanished
        )
        if same:
            kept.append(mine[0])
        elif config_set:
            kept.append(
                managedfields.entry_for(
                    self.manager, APPLY, self.api_version, self.subresource, self.now, config_set
                )
            )
        if kept:
            merged["metadata"]["managedFields"] = managedfields.ordered(kept)
        return merged


# -- checking --


def _cleaned(value: Any, shape: Shape, suspects: list[Shape]) -> Any:
    """The value without nulls, which mean "not set" where the schema does not allow them; Go clients send many.

    Where something looks wrong its shape is added to ``suspects``: ``typed`` then finds out what, which takes longer.
    """
    kind = kind_for(shape, value)
    if kind == ATOMIC:
        if shape.kind in (STRUCT, MAP, KEYED, SET) and value is not None:
            suspects.append(shape)
        return value
    if kind in (KEYED, SET):
        elements = shape.elements(value)
        if len(elements) != len(value) or any(element[0] == "i" for element in elements):
            suspects.append(shape)
        if kind == SET:
            return value
        item = shape.items()
        return [_cleaned(child, item, suspects) for child in value]
    found = {}
    for name, child in value.items():
        below = shape.field(name)[1]
        if child is not None or below.nullable:
            found[name] = _cleaned(child, below, suspects)
            if kind == STRUCT and name not in shape.declared:
                suspects.append(shape)
    return found


# -- merging --


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """``live`` with ``config`` laid over it; inputs unchanged, parts of them shared with the result."""
    kind = kind_for(shape, config)
    if kind_for(shape, live) != kind:
        return config
    if kind in (STRUCT, MAP):
        result = dict(live)
        for name, value in config.items():
            result[name] = merge(shape.field(name)[1], live[name], value) if name in live else value
        return result
    if kind in (KEYED, SET):
        return _merge_list(shape, live, config)
    return config


def _merge_list(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    """Items of the configuration in its order, the others where they stood among them.

    An item that the live list repeats is replaced, not merged; the configuration repeats none.
    """
    pairs, wanted = shape.pairs(live), dict(shape.pairs(config))
    before = dict(pairs)
    repeated: Container[str] = repeated_in(shape, live) if len(before) < len(pairs) else ()
    item = shape.items()
    left, right = [element for element, _ in pairs], list(wanted)
    shared = [element for element in right if element in before]
    result: list[Any] = []
    done: set[str] = set()
    i = j = 0

    def take(element: str) -> None:
        both = element in before and element not in repeated and shape.kind == KEYED
        result.append(merge(item, before[element], wanted[element]) if both else wanted[element])
        done.add(element)
        if shared[:1] == [element]:
            del shared[0]

    while i < len(left) or j < len(right):
        if i < len(left) and left[i] not in wanted:
            result.append(pairs[i][1])
            i += 1
        elif i < len(left) and (left[i] in done or (j < len(right) and _waits(left[i], right[j], shared))):
            i += 1
        else:
            i += i < len(left) and left[i] == right[j]
            take(right[j])
            j += 1
    return result


def _waits(one: str, other: str, shared: list[str]) -> bool:
    """Whether a shared item's turn, by the configuration's order, is not now."""
    return one != other and bool(shared) and shared[0] != one


# -- pruning --


def _with_parents(shape: Shape, fields: Fields) -> Fields:
    """The set with the declared fields that lead to its members: who owns ``a.b`` keeps ``a``."""
    result: Fields = {}
    for element, child in fields.items():
        if element == "." or not child:
            result[element] = child
            continue
        below, declared = _below(shape, element)
        inner = _with_parents(below, child)
        if declared and "." not in inner:
            inner = {".": fieldsets.LEAF} | inner
        result[element] = inner
    return result


def _below(shape: Shape, element: str) -> tuple[Shape, bool]:
    """(shape, whether it is a declared field) of a path element."""
    if element.startswith("f:"):
        name = element[2:]
        return shape.field(name)[1], name in shape.declared
    return shape.items(), False


def _removed(shape: Shape, value: Any, gone: Fields, emptied: list[tuple[dict[str, Any], str]]) -> Any:
    """``value`` without the members of ``gone`` and what is below them.

    Notes in ``emptied`` which field of what has lost all it had.
    """
    if not gone:
        return value
    kind = kind_for(shape, value)
    if kind in (STRUCT, MAP):
        result: dict[str, Any] = {}
        for name, child in value.items():
            node = gone.get(f"f:{name}")
            if node is None:
                result[name] = child
            elif node and "." not in node:
                below = shape.field(name)[1]
                result[name] = _removed(below, child, node, emptied)
                if child and not result[name]:
                    emptied.append((result, name))
        return result
    if kind in (KEYED, SET):
        kept = []
        for element, item in shape.pairs(value):
            node = gone.get(element)
            if node is None:
                kept.append(item)
            elif node and "." not in node:
                kept.append(_removed(shape.items(), item, node, emptied))
        return kept
    return value


# -- from client-side apply --


def _allowed(live: Object | None, shape: Shape) -> Fields:
    """Fields that client-side apply set last and that still have that value: kubectl may take them over."""
    text = objects.annotations(live or {}).get(LAST_APPLIED)
    if not text or live is None:
        return {}
    try:
        last = decode_json(text)
    except DecodeError:
        return {}
    if not isinstance(last, dict):
        return {}
    return _agreeing(shape, last, live)


def _agreeing(shape: Shape, last: Any, live: Any) -> Fields:
    node: Fields = {}
    pairs: list[tuple[str, Any, Any, Shape]] = []
    kind = kind_for(shape, last)
    if kind in (STRUCT, MAP):
        for name, child in last.items():
            if name in live:
                element, below = shape.field(name)
                pairs.append((element, child, live[name], below))
    elif kind in (KEYED, SET):
        there = shape.elements(live)
        below = shape.items()
        pairs = [(e, item, there[e], below) for e, item in shape.elements(last).items() if e in there]
    for element, child, other, below in pairs:
        if kind_for(below, child) in (STRUCT, MAP, KEYED, SET) and kind_for(below, child) == kind_for(
            below, other
        ):
            inner = _agreeing(below, child, other)
            node[element] = {".": fieldsets.LEAF} | inner
        elif child == other:
            node[element] = fieldsets.LEAF
    return node


def _renew_last_applied(result: Object, applied: Object) -> None:
    annotations = objects.annotations(result)
    if not annotations.get(LAST_APPLIED):
        return
    config = copied(applied)
    (config["metadata"].get("annotations") or {}).pop(LAST_APPLIED, None)
    text = encode_json(config).decode() + "\n"
    fits = sum(len(k) + len(v) for k, v in annotations.items()) + len(text) < _ANNOTATIONS_LIMIT
    result["metadata"]["annotations"] = annotations | {LAST_APPLIED: text if fits else ""}
