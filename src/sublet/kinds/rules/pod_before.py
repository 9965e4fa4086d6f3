"""What an existing pod or template may go on having, though a new one may not.

Rules become stricter from one Kubernetes minor to the next; what an older one let pass must stay changeable.
Source: Kubernetes' pkg/api/pod (GetValidationOptionsFromPodSpecAndMeta).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sublet.kinds.rules import amounts, placement
from sublet.kinds.rules.common import label_selector, not_reserved
from sublet.kinds.rules.containers import restarting
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.kinds.rules.pod_annotations import is_cost
from sublet.kinds.rules.security import every_container, is_of_host
from sublet.machinery.kind import Object


def allowances(old: Object | None) -> Allowances:
    """By the pod or template as it is stored; None or nothing: it is new."""
    if not old:
        return NEW
    spec: Object = old.get("spec") or {}
    context, volumes = spec.get("securityContext") or {}, spec.get("volumes") or ()
    spreads, sysctls = spec.get("topologySpreadConstraints") or (), context.get("sysctls") or ()
    own_users = spec.get("hostUsers") is False
    containers = [found for _, found in every_container("", spec)]
    return Allowances(
        deletion_cost=not is_cost((old.get("metadata") or {}).get("annotations") or {}),
        affinity_values=any(any(placement.term_selectors("", term)) for term in placement.pod_terms(spec)),
        node_values=any(any(placement.label_values("", r)) for r in placement.node_requirements(spec)),
        uneven_pages=any(any(amounts.uneven("", c.get("resources") or {})) for c in containers),
        spread_selectors=any(any(label_selector("", spread.get("labelSelector"))) for spread in spreads),
        spread_keys=any(any(placement.label_keys("", spread)) for spread in spreads),
        token_paths=any(any(not_reserved("", path)) for path in _token_paths(volumes)),
        host_sysctls=any(is_of_host(sysctl.get("name") or "", spec) for sysctl in sysctls),
        selinux_policy=context.get("seLinuxChangePolicy") is not None,
        comparisons=any(t.get("operator") in ("Lt", "Gt") for t in spec.get("tolerations") or ()),
        own_users_on_host_network=own_users and bool(spec.get("hostNetwork")),
        own_users_with_devices=own_users and any(c.get("volumeDevices") for c in containers),
        restarted_init=any(bool(restarting(c)) for c in spec.get("initContainers") or ()),
        unnamed_images=any(v.get("image") is not None and not v["image"].get("reference") for v in volumes),
    )


def _token_paths(volumes: Sequence[Object]) -> Iterator[str]:
    for volume in volumes:
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                yield source["serviceAccountToken"].get("path") or ""
