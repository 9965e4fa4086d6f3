"""StatefulSet."""

from __future__ import annotations

from typing import Any, NamedTuple

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import claims, gotypes, pod_defaults, pod_spec, show, warn, workload
from sublet.kinds.rules.common import (
    Errors,
    at_most_hundred_percent,
    fill,
    fill_empty,
    int_or_percent,
    is_zero,
    made,
    name_rule,
    named,
    not_negative,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

_RETENTION = ("Retain", "Delete")
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
        made(claim, "metadata")
        pod_defaults.claim_spec(made(claim, "spec"))
        fill_empty(claim.setdefault("status", {}), phase="Pending")
    pod_defaults.template(obj)


def _validate(obj: Object) -> Errors:
    yield from _spec(spec_of(obj), _NEW)


class _Judged(NamedTuple):
    """What of a spec is judged besides the rest: rules that objects from before there were any may break."""

    service: bool
    claims: bool
    template: bool


_NEW = _Judged(service=True, claims=True, template=True)


def _spec(spec: Object, judged: _Judged) -> Errors:
    policy = spec.get("podManagementPolicy") or ""
    if not policy:
        yield required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        yield invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _strategy(spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    for field in ("whenDeleted", "whenScaled"):
        value = (retention or {}).get(field)
        if retention is not None and value not in _RETENTION:
            where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            yield not_supported(where, value or "", _RETENTION)
    if judged.claims:
        for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            yield from claims.claim_spec(f"spec.volumeClaimTemplates[{index}].spec", claim.get("spec") or {})
    yield from workload.counts(spec, "replicas", "minReadySeconds")
    yield from not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    if judged.service and (service := spec.get("serviceName")):
        yield from named("spec.serviceName", service, names.dns1123_label)
    yield from workload.selector(spec, "statefulset")
    yield from _template(spec, judged)
    yield from workload.always_running(spec.get("template") or {}, "StatefulSet")


def _template(spec: Object, judged: _Judged) -> Errors:
    """A selector that cannot be read hides what is wrong with the template."""
    unmatched = list(workload.selects_template(spec, ""))
    yield from unmatched
    if any(error.field == "spec.selector" for error in unmatched):
        return
    template = spec.get("template") or {}
    if judged.template:
        yield from pod_spec.template("spec.template", _with_claims(template, spec))
    else:
        yield from pod_spec.template_metadata("spec.template", template)


def _with_claims(template: Object, spec: Object) -> Object:
    """The template as its pods will be: with a volume of every claim, before those of other names."""
    claimed = {
        (claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()
    }
    if not claimed:
        return template
    pod = template.get("spec") or {}
    volumes = [
        *({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in sorted(claimed)),
        *(volume for volume in pod.get("volumes") or () if volume.get("name") not in claimed),
    ]
    return {**template, "spec": {**pod, "volumes": volumes}}


def _strategy(strategy: Object) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    where = "spec.updateStrategy"
    if kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            shown = gotypes.shown("RollingUpdateStatefulSetStrategy", rolling)
            yield invalid(f"{where}.rollingUpdate", shown, detail)
    elif kind == "RollingUpdate":
        yield from not_negative(f"{where}.rollingUpdate.partition", (rolling or {}).get("partition"))
        unavailable, place = (rolling or {}).get("maxUnavailable"), f"{where}.rollingUpdate.maxUnavailable"
        if unavailable is not None:
            yield from int_or_percent(place, unavailable)
            if is_zero(unavailable):
                yield invalid(place, unavailable, "cannot be 0")
            yield from at_most_hundred_percent(place, unavailable)
    elif not kind:
        yield required(where)
    else:
        shown = gotypes.shown("StatefulSetUpdateStrategy", strategy)
        yield invalid(where, shown, "must be 'RollingUpdate' or 'OnDelete'")


def _validate_update(new: Object, old: Object) -> Errors:
    """The service and the claims cannot change; a template is judged where nothing was wrong with the old spec."""
    kept = _Judged(service=False, claims=False, template=True)
    sound = not any(_spec(spec_of(old), kept))
    yield from _spec(spec_of(new), kept._replace(template=sound))

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


def _validate_status(new: Object, old: Object) -> Errors:
    status = new.get("status") or {}
    yield from workload.status_counts(
        status, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"
    )
    yield from workload.status_counts(status, "observedGeneration", "collisionCount")
    yield from workload.no_more_than_replicas(
        status,
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        ready="cannot be greater than status.readyReplicas",
    )
    yield from workload.collisions(new, old)


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
    update_alone=True,
    validate_status=update_rule(_validate_status),
    validate_name=name_rule(names.dns1123_label),
    warnings=warn.stateful_set,
    cells=_cells,
)
