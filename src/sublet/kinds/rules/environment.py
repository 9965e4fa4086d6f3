"""Rules of a container's environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sublet.kinds.rules import downward
from sublet.kinds.rules.common import Errors, named, needs, no_backsteps
from sublet.kinds.rules.security import every_container
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_not_found, invalid

_NONE = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
)
_SEVERAL = "may not have more than one field specified at a time"


def variables(path: str, found: Sequence[Object]) -> Errors:
    """``env``."""
    for index, variable in enumerate(found):
        where, name = f"{path}[{index}]", variable.get("name") or ""
        yield from needs(f"{where}.name", name, names.environment_name)
        source = variable.get("valueFrom")
        if source is not None:
            yield from _source(f"{where}.valueFrom", source, variable.get("value") or "")


def _source(path: str, source: Object, value: str) -> Errors:
    chosen = [kind for kind in _RULES if source.get(kind) is not None]
    for kind in chosen:
        yield from _RULES[kind](f"{path}.{kind}", source[kind])
    if not chosen:
        yield invalid(path, "", _NONE)
    elif value:
        yield invalid(path, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield invalid(path, "", _SEVERAL)


def _field(path: str, reference: Object) -> Errors:
    yield from downward.field_reference(path, reference, downward.ENVIRONMENT_FIELDS)


def _resource(path: str, reference: Object) -> Errors:
    yield from downward.resource_reference(path, reference, in_volume=False)


def _key(path: str, reference: Object) -> Errors:
    yield from named(f"{path}.name", reference.get("name") or "", names.dns1123_subdomain)
    yield from needs(f"{path}.key", reference.get("key"), names.config_key)


def _file(path: str, reference: Object) -> Errors:
    yield from needs(f"{path}.key", reference.get("key"), names.environment_name)
    yield from needs(f"{path}.volumeName", reference.get("volumeName"), names.dns1123_label)
    yield from needs(f"{path}.path", reference.get("path"))
    yield from no_backsteps(f"{path}.path", reference.get("path") or "")


def files(path: str, spec: Object) -> Errors:
    """The volumes that variables are read from, in all containers of a pod: what is written there goes with the pod."""
    volumes = {volume.get("name") or "": volume for volume in spec.get("volumes") or ()}
    for where, container in every_container(path, spec):
        for index, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if reference is None:
                continue
            place = f"{where}.env[{index}].valueFrom.fileKeyRef.volumeName"
            name = reference.get("volumeName") or ""
            if name not in volumes:
                yield field_not_found(place, name)
            elif volumes[name].get("emptyDir") is None:
                yield invalid(place, name, "referenced volume must be of type emptyDir")


_RULES: Mapping[str, Callable[[str, Object], Errors]] = {
    "fieldRef": _field,
    "resourceFieldRef": _resource,
    "configMapKeyRef": _key,
    "secretKeyRef": _key,
    "fileKeyRef": _file,
}


def sources(path: str, found: Sequence[Object]) -> Errors:
    """``envFrom``."""
    for index, source in enumerate(found):
        where = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            yield from named(f"{where}.prefix", prefix, names.environment_name)
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in kinds:
            yield from needs(f"{where}.{kind}.name", source[kind].get("name"), _whole_or_prefix)
        if not kinds:
            yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(kinds) > 1:
            yield invalid(path, "", _SEVERAL)


def _whole_or_prefix(name: str) -> Sequence[str]:
    """References of this kind are checked as if more could follow: they may end in a dash."""
    return names.dns1123_subdomain(names.mask_trailing_dash(name))
