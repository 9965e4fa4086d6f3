"""StatefulSet."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, show, warn, workload
from sublet.kinds.rules.common import (
    Errors,
    fill,
    fill_empty,
    int_or_percent,
    name_rule,
    not_negative,
    one_of,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required

_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill_empty(spec, podManagementPolicy="OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        fill(strategy, rollingUpdate={})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        fill(strategy["rollingUpdate"], partition=0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    fill_empty(retention, whenDeleted="Retain", whenScaled="Retain")
    fill(spec, replicas=1, revisionHistoryLimit=10)
    for claim in spec.get("volumeClaimTemplates") or ():
        fill_empty(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
        fill_empty(claim.setdefault("status", {}), phase="Pending")
    pod_defaults.template(obj)


def _with_claims(spec: Object) -> Object:
    """The spec with a volume per claim template, as its pods will have them: containers may mount those."""
    claims = [((c or {}).get("metadata") or {}).get("name") for c in spec.get("volumeClaimTemplates") or ()]
    template = spec.get("template")
    if not claims or not isinstance(template, dict):
        return spec
    pod = template.get("spec") or {}
    volumes = [volume for volume in pod.get("volumes") or () if volume.get("name") not in claims]
    volumes += [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name]
    return {**spec, "template": {**template, "spec": {**pod, "volumes": volumes}}}


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    policy, strategy = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
    yield from one_of("spec.podManagementPolicy", policy, ("OrderedReady", "Parallel"), needed=True)
    yield from _strategy(strategy)
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        yield from one_of(where, retention.get(field), ("Delete", "Retain"))
    yield from workload.counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    yield from not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    yield from workload.selector_and_template(_with_claims(spec), "statefulset", owner="StatefulSet")


def _strategy(strategy: Object) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    where = "spec.updateStrategy"
    if kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            yield invalid(f"{where}.rollingUpdate", rolling, detail)
    elif kind == "RollingUpdate":
        yield from not_negative(f"{where}.rollingUpdate.partition", (rolling or {}).get("partition"))
        unavailable = (rolling or {}).get("maxUnavailable")
        yield from int_or_percent(f"{where}.rollingUpdate.maxUnavailable", unavailable)
        if unavailable in (0, "0%"):
            yield invalid(f"{where}.rollingUpdate.maxUnavailable", unavailable, "cannot be 0")
    elif not kind:
        yield required(where)
    else:
        yield invalid(where, strategy, "must be 'RollingUpdate' or 'OnDelete'")


def _validate_update(new: Object, old: Object) -> Errors:
    def fixed(obj: Object) -> Object:
        return {key: value for key, value in spec_of(obj).items() if key not in _MUTABLE}

    if fixed(new) != fixed(old):
        listed = (
            "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
        )
        yield field_forbidden(
            "spec", f"updates to statefulset spec for fields other than {listed} are forbidden"
        )


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    yield from workload.status_counts(
        status, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"
    )
    yield from workload.no_more_than_replicas(
        status, "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"
    )


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    return [
        show.name(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        show.age(obj, now),
        *show.container_cells(spec.get("template")),
    ]


KIND = builtin(
    "statefulsets.apps",
    status={"replicas": 0, "availableReplicas": 0},
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_status),
    validate_name=name_rule(names.dns1123_label),
    warnings=warn.stateful_set,
    cells=_cells,
)
