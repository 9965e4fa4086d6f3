"""Which objects of a kind a list or watch wants: namespace, label selector, field selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sublet.apiserver import stored
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import CachedEntry
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import BadRequest

_ALWAYS = ("metadata.name", "metadata.namespace")

Fields = Mapping[str, Callable[[Object], str]]
"""Field label -> value."""


class Selection:
    """Raises ``BadRequest`` for a selector that cannot be read or names a field the kind does not select by."""

    def __init__(
        self, kind: Kind, namespace: str, labels: str = "", fields: str = "", known: Fields | None = None
    ) -> None:
        """``known``: the field labels of the version asked for, where they are not the kind's own."""
        self.kind = kind
        self._known = kind.selectable if known is None else known
        self.namespace = namespace if kind.resource.namespaced else ""
        self.labels = selectors.parse(labels) if labels else None
        self.fields = selectors.parse_fields(fields) if fields else None
        if self.labels is not None and self.labels.everything:
            self.labels = None
        if self.fields is not None and self.fields.everything:
            self.fields = None
        if self.fields is not None:
            _check_fields(kind, self._known, self.fields)
        self.identity: tuple[str, ...] = (str(self.labels or ""), str(self.fields or ""))
        """Equal for selections that choose the same objects of a namespace."""

        self._look: Callable[[CachedEntry], Object] = _own

    @property
    def by_content(self) -> bool:
        """Whether fields beyond name and namespace are looked at."""
        return self.fields is not None and any(
            requirement.field not in _ALWAYS for requirement in self.fields.requirements
        )

    def look_at(self, look: Callable[[CachedEntry], Object], api_version: str) -> None:
        """Lets fields be those of another version of the objects than the one they are stored in."""
        self._look = look
        self.identity = (*self.identity[:2], api_version)

    @classmethod
    def of(cls, kind: Kind, info: RequestInfo, known: Fields | None = None) -> Selection:
        """The selection of a list or watch request."""
        fields = info.field_selector
        if info.name and not fields:
            fields = f"metadata.name={info.name}"
        found = cls(kind, info.namespace, info.label_selector, fields, known)
        if info.name and found.name != info.name:
            raise BadRequest("fieldSelector metadata.name doesn't match requested name")
        return found

    @property
    def everything(self) -> bool:
        """Whether nothing but the namespace narrows it."""
        return self.labels is None and self.fields is None

    @property
    def prefix(self) -> str:
        """Keys of everything in the namespace, or of the one object that the field selector names."""
        base = stored.key_prefix(self.kind.resource)
        return f"{base}{self.namespace}/" if self.namespace else base

    @property
    def name(self) -> str:
        """The one name wanted, or ``""``."""
        return (self.fields.exact("metadata.name") or "") if self.fields is not None else ""

    def exact(self, field: str) -> str | None:
        return self.fields.exact(field) if self.fields is not None else None

    def matches(self, entry: CachedEntry) -> bool:
        """Whether an entry of the namespace is wanted; decodes only if the selectors need it."""
        if self.fields is not None and not self._fields_match(entry):
            return False
        return self.labels is None or self.labels.matches(entry.labels)

    def matches_object(self, obj: Object) -> bool:
        """As :meth:`matches` for an object that does not come from the cache."""
        if self.fields is not None and not self.fields.matches(
            _lookup(self._known, lambda: obj, objects.namespace(obj), objects.name(obj))
        ):
            return False
        return self.labels is None or self.labels.matches(objects.labels(obj))

    def _fields_match(self, entry: CachedEntry) -> bool:
        if self.fields is None:
            return True
        namespace, name = stored.place(entry.key, stored.key_prefix(self.kind.resource))
        if isinstance(self.kind, CustomKind):  # whose values change with its definition
            return self.fields.matches(_lookup(self._known, lambda: self._look(entry), namespace, name))

        def value(field: str) -> str:
            if field == "metadata.name":
                return name
            return namespace if field == "metadata.namespace" else entry.fact(field, self._known[field])

        return self.fields.matches(value)


def _own(entry: CachedEntry) -> Object:
    found: Object = entry.object
    return found


def _lookup(known: Fields, obj: Callable[[], Object], namespace: str, name: str) -> Callable[[str], str]:
    def value(field: str) -> str:
        if field == "metadata.name":
            return name
        if field == "metadata.namespace":
            return namespace
        return known[field](obj())

    return value


def _check_fields(kind: Kind, known: Fields, fields: selectors.FieldSelector) -> None:
    """As upstream: kinds that register fields of their own have another text, and know a namespace only where
    they are in one."""
    registered = bool(known) or isinstance(kind, CustomKind)
    always = _ALWAYS if kind.resource.namespaced or not registered else _ALWAYS[:1]
    for requirement in fields.requirements:
        field = requirement.field
        if field in always or field in known:
            continue
        if registered:
            raise BadRequest(f"field label not supported: {field}")
        raise BadRequest(
            f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
