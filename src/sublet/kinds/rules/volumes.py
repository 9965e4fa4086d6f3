"""Rules of a pod's volumes: names, one source each, what each source needs. Old in-tree sources: ``volumes_intree``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sublet.kinds.rules import amounts, downward
from sublet.kinds.rules.claims import claim_spec
from sublet.kinds.rules.common import (
    Errors,
    annotation_map,
    descending,
    label_selector,
    labels,
    named,
    needs,
    no_backsteps,
    not_reserved,
)
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.kinds.rules.volumes_intree import INTREE, portal_length
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    FieldError,
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
    too_long,
)

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_DRIVER_LIMIT = 63
_SECOND = "may not specify more than 1 volume type"

Rule = Callable[[str, Object], Errors]


def checked(
    path: str, found: Sequence[Object], pod: Object | None, allowed: Allowances = NEW
) -> tuple[dict[str, Object], list[FieldError]]:
    """``spec.volumes`` of a pod, whose metadata is given, or of a template (None): (usable ones by name, errors)."""
    pod_name = (pod or {}).get("name") or ""
    created = {
        f"{pod_name}-{v.get('name') or ''}" for v in found if pod_name and v.get("ephemeral") is not None
    }
    usable: dict[str, Object] = {}
    all_errors: list[FieldError] = []
    for index, volume in enumerate(found):
        where, name = f"{path}[{index}]", volume.get("name") or ""
        errors = [
            *_source(where, volume, pod_name, allowed),
            *needs(f"{where}.name", name, names.dns1123_label),
        ]
        if name in usable:
            errors.append(duplicate(f"{where}.name", name))
        if not errors:
            usable[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and claim in created:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(f"{where}.persistentVolumeClaim.claimName", claim, detail))
        all_errors += errors
    return usable, all_errors


def _source(path: str, volume: Object, pod_name: str, allowed: Allowances) -> Errors:
    first, name = True, volume.get("name") or ""
    for kind, (rule, shown) in SOURCES.items():
        source = volume.get(kind)
        if source is None:
            continue
        if first:
            if kind == "image" and not source.get("reference") and not allowed.unnamed_images:
                yield required(f"{path}.image.reference")
            where = f"{path}.{_PLACES.get(kind, kind)}"
            yield from _projected(where, source, allowed) if kind == "projected" else rule(where, source)
            first = False
            if kind == "ephemeral" and pod_name and name:
                claim = f"{pod_name}-{name}"
                for text in names.dns1123_subdomain(claim):
                    yield invalid(f"{path}.name", name, f'PVC name "{claim}": {text}')
        else:
            yield field_forbidden(f"{path}.{shown}", _SECOND)
        if kind == "iscsi":
            yield from portal_length(f"{path}.name", name, name, source)
    if first:
        yield required(path, "must specify a volume type")


def host_path(path: str, source: Object) -> Errors:
    where = source.get("path") or ""
    if not where:
        yield required(f"{path}.path")
        return
    yield from no_backsteps(f"{path}.path", where)
    chosen = source.get("type") or ""
    if chosen not in HOST_PATH_TYPES:
        yield not_supported(f"{path}.type", chosen, HOST_PATH_TYPES)


def _empty_dir(path: str, source: Object) -> Errors:
    limit = source.get("sizeLimit")
    if limit is not None and list(amounts.not_negative(path, limit)):
        yield field_forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def mode(path: str, value: int | None) -> Errors:
    if value is not None and not 0 <= value <= 0o777:
        yield invalid(path, value, _MODE)


def _secret(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.secretName", source.get("secretName"))
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        yield from _key_to_path(f"{path}.items[{index}]", item)


def _config_map(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.name", source.get("name"))
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        yield from _key_to_path(f"{path}.items[{index}]", item)


def _key_to_path(path: str, item: Object) -> Errors:
    yield from needs(f"{path}.key", item.get("key"))
    yield from needs(f"{path}.path", item.get("path"))
    yield from not_reserved(f"{path}.path", item.get("path") or "")
    yield from mode(f"{path}.mode", item.get("mode"))


def _downward(path: str, source: Object) -> Errors:
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        yield from _downward_file(path, item)


def _downward_file(path: str, item: Object) -> Errors:
    yield from needs(f"{path}.path", item.get("path"))
    yield from not_reserved(f"{path}.path", item.get("path") or "")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        yield from downward.field_reference(f"{path}.fieldRef", field, downward.VOLUME_FIELDS)
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid(path, "resource", detail)
    elif resource is not None:
        yield from downward.resource_reference(f"{path}.resourceFieldRef", resource, in_volume=True)
    else:
        yield required(path, "one of fieldRef and resourceFieldRef is required")
    yield from mode(f"{path}.mode", item.get("mode"))


def _projected(path: str, source: Object, allowed: Allowances = NEW) -> Errors:
    yield from mode(f"{path}.defaultMode", source.get("defaultMode"))
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        kinds = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
        for kind in kinds:
            yield from _PROJECTIONS[kind](path, f"{where}.{kind}", projection[kind], taken)
            if kind == "serviceAccountToken" and not allowed.token_paths:
                # The path of the error is the volume's, as it is in Kubernetes.
                yield from not_reserved(f"{path}.path", projection[kind].get("path") or "")
        if len(kinds) > 1:
            yield field_forbidden(where, "may not specify more than 1 volume type per source")


def _taken(path: str, target: str, shown: str, taken: set[str]) -> Errors:
    if target in taken:
        yield invalid(path, shown, "conflicting duplicate paths")
    taken.add(target)


def _projected_keys(volume: str, path: str, part: Object, taken: set[str]) -> Errors:
    yield from needs(f"{path}.name", part.get("name"))
    for index, item in enumerate(part.get("items") or ()):
        yield from _key_to_path(f"{path}.items[{index}]", item)
        if target := item.get("path"):
            yield from _taken(volume, target, part.get("name") or "", taken)


def _projected_fields(volume: str, path: str, part: Object, taken: set[str]) -> Errors:
    for item in part.get("items") or ():
        yield from _downward_file(path, item)
        if target := item.get("path"):
            yield from _taken(volume, target, target, taken)


def _token(volume: str, path: str, part: Object, _taken: set[str]) -> Errors:
    seconds = part.get("expirationSeconds") or 0
    where = f"{path}.expirationSeconds"
    if seconds < 600:
        yield invalid(where, seconds, "may not specify a duration less than 10 minutes")
    if seconds > 1 << 32:
        yield invalid(where, seconds, "may not specify a duration larger than 2^32 seconds")
    yield from needs(f"{volume}.path", part.get("path"))


def _trust_bundle(volume: str, path: str, part: Object, taken: set[str]) -> Errors:
    name, signer = part.get("name"), part.get("signerName")
    if name is not None and signer is not None:
        yield invalid(path, part, "only one of name and signerName may be used")
    elif name is not None:
        if not name:
            yield required(f"{path}.name", "must be a valid object name")
        for text in names.dns1123_subdomain(name.rpartition(":")[2]):
            yield invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {text}")
        if part.get("labelSelector") is not None:
            detail = "labelSelector must be unset if name is specified"
            yield invalid(f"{path}.labelSelector", part["labelSelector"], detail)
    elif signer is not None:
        if not signer:
            yield required(f"{path}.signerName", "must be a valid signer name")
        yield from label_selector(f"{path}.labelSelector", part.get("labelSelector"))
    else:
        yield required(path, "either name or signerName must be specified")
    yield from needs(f"{path}.path", part.get("path"))
    yield from not_reserved(f"{path}.path", part.get("path") or "")
    yield from _taken(volume, part.get("path") or "", part.get("path") or "", taken)


_PROJECTIONS: Mapping[str, Callable[[str, str, Object, set[str]], Errors]] = {
    "secret": _projected_keys,
    "configMap": _projected_keys,
    "downwardAPI": _projected_fields,
    "serviceAccountToken": _token,
    "clusterTrustBundle": _trust_bundle,
}


def _claim(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.claimName", source.get("claimName"))


def nfs(path: str, source: Object) -> Errors:
    yield from needs(f"{path}.server", source.get("server"))
    where = source.get("path") or ""
    yield from needs(f"{path}.path", where)
    if not where.startswith("/"):
        yield invalid(f"{path}.path", where, "must be an absolute path")


def driver_name(path: str, name: str | None) -> Errors:
    """The name of a CSI driver."""
    name = name or ""
    if not name:
        yield required(path)
    if len(name) > _DRIVER_LIMIT:
        yield too_long(path, _DRIVER_LIMIT)
    for text in names.dns1123_subdomain(name.lower()):
        yield invalid(path, name, text)


def _csi(path: str, source: Object) -> Errors:
    yield from driver_name(f"{path}.driver", source.get("driver"))
    if (secret := source.get("nodePublishSecretRef")) is not None:
        if not secret.get("name"):
            yield required(f"{path}.nodePublishSecretRef.name")
        else:
            yield from named(f"{path}.name", secret["name"], names.dns1123_subdomain)


def _ephemeral(path: str, source: Object) -> Errors:
    claim, where = source.get("volumeClaimTemplate"), f"{path}.volumeClaimTemplate"
    if claim is None:
        yield required(where)
        return
    metadata = claim.get("metadata") or {}
    yield from annotation_map(f"{where}.metadata.annotations", metadata.get("annotations"))
    yield from labels(f"{where}.metadata.labels", metadata.get("labels"))
    for key, value in metadata.items():
        if key not in ("annotations", "labels") and value:
            yield field_forbidden(f"{where}.metadata.{key}", "cannot be set")
    yield from claim_spec(f"{where}.spec", claim.get("spec") or {})


def _image(path: str, source: Object) -> Errors:
    yield from pull_policy(f"{path}.pullPolicy", source.get("pullPolicy"))


def pull_policy(path: str, policy: str | None) -> Errors:
    if not policy:
        yield required(path)
    elif policy not in PULL_POLICIES:
        yield not_supported(path, policy, PULL_POLICIES)


_OWN: Mapping[str, Rule] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "secret": _secret,
    "nfs": nfs,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "configMap": _config_map,
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
_SHOWN = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""How Kubernetes spells a few sources when it refuses a second one."""
_PLACES = {"gcePersistentDisk": "persistentDisk"}

SOURCES: Mapping[str, tuple[Rule, str]] = {
    kind: (_OWN[kind] if kind in _OWN else INTREE[kind], _SHOWN.get(kind, kind)) for kind in _ORDER
}
"""Volume type -> rule of its source and its name in messages, in the order Kubernetes looks at them."""


def mounts(path: str, container: Object, known: Mapping[str, Object]) -> Errors:
    """``volumeMounts`` and ``volumeDevices`` of a container; ``known``: the pod's volumes by name."""
    mounted = {m.get("name") or "": m.get("mountPath") or "" for m in container.get("volumeMounts") or ()}
    devices = {d.get("name") or "": d.get("devicePath") or "" for d in container.get("volumeDevices") or ()}
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
        if name in devices:
            yield invalid(f"{where}.name", name, "must not already exist in volumeDevices")
        if target in devices.values():
            yield invalid(f"{where}.mountPath", target, "must not already exist as a path in volumeDevices")
        yield from _mount_details(f"{path}.volumeMounts", where, mount, container)
    yield from _devices(f"{path}.volumeDevices", container, mounted, known)


def _mount_details(path: str, where: str, mount: Object, container: Object) -> Errors:
    """``path`` is the list's, which is where Kubernetes puts some of these errors."""
    part, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    yield from descending(f"{path}.subPath", part)
    if expression:
        if part:
            detail = "subPathExpr and subPath are mutually exclusive"
            yield invalid(f"{where}.subPathExpr", expression, detail)
        yield from descending(f"{path}.subPathExpr", expression)
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        supported = ("Bidirectional", "HostToContainer", "None")
        if propagation not in supported:
            yield not_supported(f"{path}.mountPropagation", propagation, supported)
        if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            detail = "Bidirectional mount propagation is available only to privileged containers"
            yield field_forbidden(f"{path}.mountPropagation", detail)
    yield from _recursive(f"{path}.recursiveReadOnly", mount)


def _recursive(path: str, mount: Object) -> Errors:
    chosen = mount.get("recursiveReadOnly")
    if chosen in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            yield field_forbidden(path, "may only be specified when readOnly is true")
        if mount.get("mountPropagation") not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            yield field_forbidden(path, detail)
    elif chosen not in (None, "Disabled"):
        yield not_supported(path, chosen, ("Disabled", "Enabled", "IfPossible"))


def _devices(path: str, container: Object, mounted: Mapping[str, str], known: Mapping[str, Object]) -> Errors:
    seen: set[str] = set()
    taken: set[str] = set()
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where, name, target = f"{path}[{index}]", device.get("name") or "", device.get("devicePath") or ""
        source = known.get(name)
        if not name:
            yield required(f"{where}.name")
        if name in seen:
            yield invalid(f"{where}.name", name, "must be unique")
        if source is None:
            yield field_not_found(f"{where}.name", name)
        elif source.get("persistentVolumeClaim") is None and source.get("ephemeral") is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid(f"{where}.name", name, detail)
        if not target:
            yield required(f"{where}.devicePath")
        if target in taken:
            yield invalid(f"{where}.devicePath", target, "must be unique")
        if ".." in target.split("/"):
            yield invalid(f"{where}.devicePath", target, "can not contain backsteps ('..')")
        else:
            taken.add(target)
        if name in mounted:
            yield invalid(f"{where}.name", name, "must not already exist in volumeMounts")
        if target in mounted.values():
            yield invalid(f"{where}.devicePath", target, "must not already exist as a path in volumeMounts")
        seen.add(name)
