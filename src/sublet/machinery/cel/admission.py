"""What expressions of admission policies and of webhooks' matchConditions may name, and of which types it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from sublet.machinery.cel import types
from sublet.machinery.cel.authorizer import Authorizer, ResourceCheck
from sublet.machinery.cel.environment import Environment
from sublet.machinery.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Field, Type


def _object(name: str, /, **fields: Type) -> Type:
    made = {key.rstrip("_"): Field(kind, key.rstrip("_")) for key, kind in fields.items()}
    return types.object_type(name, lambda: made)


def _request_type() -> Type:
    strings = types.list_of(STRING)
    kind = _object("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
    resource = _object("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
    user = _object(
        "kubernetes.UserInfo",
        username=STRING,
        uid=STRING,
        groups=strings,
        extra=types.map_of(STRING, strings),
    )
    return _object(
        "kubernetes.AdmissionRequest", kind=kind, resource=resource, subResource=STRING, requestKind=kind,
        requestResource=resource, requestSubResource=STRING, name=STRING, namespace=STRING, operation=STRING,
        userInfo=user, dryRun=BOOL, options=DYN,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _namespace_type() -> Type:
    strings, labels = types.list_of(STRING), types.map_of(STRING, STRING)
    condition = _object(
        "kubernetes.NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING,
        reason=STRING,
    )  # fmt: skip
    metadata = _object(
        "kubernetes.NamespaceMetadata", name=STRING, generateName=STRING, namespace=STRING, labels=labels,
        annotations=labels, UID=STRING, creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP, generation=INT, resourceVersion=STRING, finalizers=strings,
    )  # fmt: skip
    status = _object("kubernetes.NamespaceStatus", conditions=types.list_of(condition), phase=STRING)
    spec = _object("kubernetes.NamespaceSpec", finalizers=strings)
    return _object("kubernetes.Namespace", metadata=metadata, spec=spec, status=status)


def _patch_type() -> Type:
    return _object("JSONPatch", op=STRING, path=STRING, from_=STRING, value=DYN)


@dataclass(frozen=True)
class Environments:
    """The environment of all policies; each policy adds its ``variables``."""

    base: Environment
    variables: Mapping[str, Type]

    @classmethod
    def make(cls) -> Environments:
        variables: dict[str, Type] = {
            "object": DYN, "oldObject": DYN, "request": _request_type(),
            "authorizer": types.parse(Authorizer.type_name),
            "authorizer.requestResource": types.parse(ResourceCheck.type_name),
        }  # fmt: skip
        anything = types.object_type("Object")
        constructs = {"Object": anything, "Object.*": anything, "JSONPatch": _patch_type()}
        return cls(Environment(variables, constructs), variables)

    @cached_property
    def conditions(self) -> Environment:
        """Of webhooks' matchConditions: neither params nor the namespace nor variables."""
        return self.base.extended(self.variables)

    @cached_property
    def plain(self) -> Environment:
        """Of validating policies: no types to construct."""
        return Environment(self.variables)

    def policy(
        self, params: bool, variables: Mapping[str, Type] | None, *, mutating: bool = False,
        authorizer: bool = True, shapes: Mapping[str, Type] | None = None,
    ) -> Environment:  # fmt: skip
        """Of one policy's expressions; ``variables`` None: they may not be used. ``shapes`` are types of ``object``,
        ``oldObject`` and ``params`` where they are known."""
        made: dict[str, Type] = {**self.variables, "namespaceObject": _namespace_type()}
        if not authorizer:
            made = {name: kind for name, kind in made.items() if not name.startswith("authorizer")}
        if params:
            made["params"] = DYN
        if variables is not None:
            fields = {name: Field(kind, name) for name, kind in variables.items()}
            made["variables"] = types.object_type("kubernetes.variables", lambda: fields)
        return (self.base if mutating else self.plain).extended({**made, **(shapes or {})})


@lru_cache(maxsize=1)
def environments() -> Environments:
    """They hold nothing but the language, so one will do for all."""
    return Environments.make()
