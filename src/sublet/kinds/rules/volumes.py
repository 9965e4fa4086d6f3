"""Rules of a pod's volumes and their sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.kinds.rules import amounts
from sublet.kinds.rules.claims import claim_spec
from sublet.kinds.rules.common import Errors, named, needs, one_of, unique
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
)

FIELD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def volumes(path: str, found: Sequence[Object]) -> Errors:
    """``spec.volumes`` of a pod."""
    yield from unique(path, found, "name")
    for index, volume in enumerate(found):
        where = f"{path}[{index}]"
        yield from needs(f"{where}.name", volume.get("name"), names.dns1123_label)
        yield from _source(where, {key: value for key, value in volume.items() if key != "name"})


def _source(path: str, volume: Mapping[str, Any]) -> Errors:
    if not volume:
        yield required(path, "must specify a volume type")
    for number, (kind, source) in enumerate(volume.items()):
        if number:
            yield field_forbidden(f"{path}.{kind}", "may not specify more than 1 volume type")
        elif kind in SOURCES:
            yield from SOURCES[kind](f"{path}.{kind}", source)


def host_path(path: str, source: Object) -> Errors:
    where = source.get("path") or ""
    if not where:
        yield required(f"{path}.path")
    elif ".." in where.split("/"):
        yield invalid(f"{path}.path", where, "must not contain '..'")
    chosen = source.get("type") or ""
    if chosen not in HOST_PATH_TYPES:
        yield not_supported(f"{path}.type", chosen, HOST_PATH_TYPES)


def _empty_dir(path: str, source: Object) -> Errors:
    limit = source.get("sizeLimit")
    if limit is not None:
        yield from amounts.not_negative(f"{path}.sizeLimit", limit)


def mode(path: str, value: int | None) -> Errors:
    if value is not None and not 0 <= value <= 0o777:
        yield invalid(path, value, _MODE)


def _secret(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.secretName", source.get("secretName"))
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    yield from _items(f"{path}.items", source.get("items") or ())


def _config_map(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.name", source.get("name"))
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    yield from _items(f"{path}.items", source.get("items") or ())


def _items(path: str, items: Sequence[Object]) -> Errors:
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        yield from needs(f"{where}.key", item.get("key"))
        yield from needs(f"{where}.path", item.get("path"))
        yield from descending(f"{where}.path", item.get("path") or "")
        yield from mode(f"{where}.mode", item.get("mode"))


def descending(path: str, value: str) -> Errors:
    """A path that stays below where it starts."""
    if value.startswith("/"):
        yield invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield invalid(path, value, "must not contain '..'")


def _downward(path: str, source: Object) -> Errors:
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        yield from needs(f"{where}.path", item.get("path"))
        yield from descending(f"{where}.path", item.get("path") or "")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field and resource:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid(where, "resource", detail)
        elif field:
            yield from field_reference(f"{where}.fieldRef", field, FIELD_PATHS)
        elif resource:
            yield from resource_reference(f"{where}.resourceFieldRef", resource, in_volume=True)
        else:
            yield required(where, "one of fieldRef and resourceFieldRef is required")
        yield from mode(f"{where}.mode", item.get("mode"))


def field_reference(path: str, reference: Object, supported: Sequence[str]) -> Errors:
    """A downward ``fieldRef``; labels and annotations may be named one by one."""
    field = reference.get("fieldPath") or ""
    if not reference.get("apiVersion"):
        yield required(f"{path}.apiVersion")
    elif not field:
        yield required(f"{path}.fieldPath")
    else:
        whole, bracket, rest = field.partition("['")
        if bracket and rest.endswith("']") and whole in ("metadata.annotations", "metadata.labels"):
            key = rest[:-2]
            checked = key.lower() if whole == "metadata.annotations" else key
            yield from named(path, checked, names.qualified_name)
        elif field not in supported:
            if not field.startswith(("metadata.", "spec.", "status.")):
                detail = f"error converting fieldPath: field label not supported: {field}"
                yield invalid(f"{path}.fieldPath", field, detail)
            else:
                yield not_supported(f"{path}.fieldPath", field, sorted(supported))


def resource_reference(path: str, reference: Object, *, in_volume: bool) -> Errors:
    resource = reference.get("resource") or ""
    supported = [
        f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
    ]
    if in_volume and not reference.get("containerName"):
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in supported and not resource.partition(".")[2].startswith("hugepages-"):
        yield not_supported(f"{path}.resource", resource, supported)
    divisor = reference.get("divisor")
    if divisor not in (None, "0"):
        yield from _divisor(f"{path}.divisor", resource, divisor)


def _divisor(path: str, resource: str, divisor: str) -> Errors:
    if resource.endswith(".cpu"):
        if divisor not in ("1m", "1"):
            yield invalid(
                path, resource, "only divisor's values 1m and 1 are supported with the cpu resource"
            )
    elif divisor not in ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"):
        detail = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported"
        yield invalid(path, resource, f"{detail} with the memory resource")


def _projected(path: str, source: Object) -> Errors:
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        if not projection:
            yield required(where, "must specify at least one source")
        for number, (kind, part) in enumerate(projection.items()):
            if number:
                yield field_forbidden(f"{where}.{kind}", "may not specify more than 1 volume type")
            elif kind in ("secret", "configMap"):
                yield from needs(f"{where}.{kind}.name", part.get("name"))
                yield from _items(f"{where}.{kind}.items", part.get("items") or ())
            elif kind == "downwardAPI":
                yield from _downward(f"{where}.downwardAPI", part)
            elif kind == "serviceAccountToken":
                yield from _token(f"{where}.serviceAccountToken", part)


def _token(path: str, source: Object) -> Errors:
    seconds = source.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        yield invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds is not None and seconds > 1 << 32:
        yield invalid(
            f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
        )
    yield from needs(f"{path}.path", source.get("path"))
    yield from descending(f"{path}.path", source.get("path") or "")


def _claim(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.claimName", source.get("claimName"))


def _nfs(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.server", source.get("server"))
    where = source.get("path") or ""
    if not where:
        yield required(f"{path}.path")
    elif not where.startswith("/"):
        yield invalid(f"{path}.path", where, "must be an absolute path")


def _csi(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.driver", source.get("driver"), lambda v: names.dns1123_subdomain(v.lower()))


def _ephemeral(path: str, source: Object) -> Errors:
    claim = source.get("volumeClaimTemplate")
    if claim is None:
        yield required(f"{path}.volumeClaimTemplate")
        return
    yield from claim_spec(f"{path}.volumeClaimTemplate.spec", claim.get("spec") or {})


def _image(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.reference", source.get("reference"))
    yield from one_of(f"{path}.pullPolicy", source.get("pullPolicy"), ("Always", "IfNotPresent", "Never"))


SOURCES: Mapping[str, Callable[[str, Object], Errors]] = {
    "hostPath": host_path,
    "emptyDir": _empty_dir,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "persistentVolumeClaim": _claim,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
"""Volume type -> rule of its source. Types that only old in-tree drivers knew have none."""


def mounts(path: str, container: Object, known: Mapping[str, Object]) -> Errors:
    """``volumeMounts`` and ``volumeDevices`` of a container; ``known``: the pod's volumes by name."""
    taken: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{index}]"
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{where}.name")
        if name not in known:
            yield field_not_found(f"{where}.name", name)
        if not target:
            yield required(f"{where}.mountPath")
        if target in taken:
            yield invalid(f"{where}.mountPath", target, "must be unique")
        taken.add(target)
        yield from _mount_details(where, mount)
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where = f"{path}.volumeDevices[{index}]"
        name, target = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            yield required(f"{where}.name")
        elif "persistentVolumeClaim" not in (source := known.get(name) or {}) and "ephemeral" not in source:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield (
                field_not_found(f"{where}.name", name)
                if not source
                else invalid(f"{where}.name", name, detail)
            )
        if not target:
            yield required(f"{where}.devicePath")
        elif target in taken:
            yield duplicate(f"{where}.devicePath", target)
        taken.add(target)


def _mount_details(path: str, mount: Object) -> Errors:
    part, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    if part and expression:
        yield invalid(f"{path}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive")
    yield from descending(f"{path}.subPath", part)
    yield from descending(f"{path}.subPathExpr", expression)
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        yield from one_of(
            f"{path}.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None"), needed=True
        )
    recursive = mount.get("recursiveReadOnly")
    if recursive not in (None, "Disabled") and not mount.get("readOnly"):
        yield field_forbidden(f"{path}.recursiveReadOnly", "may only be specified when readOnly is true")
