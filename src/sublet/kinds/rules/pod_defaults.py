"""Defaults of pods and pod templates (reference D, "Pod spec / containers")."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sublet.kinds.rules.amounts import rounded
from sublet.kinds.rules.common import fill, fill_empty, made
from sublet.machinery import usage
from sublet.machinery.kind import Object

_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_image = re.compile(
    rf"(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*(?::(?P<tag>\w[\w.-]{{0,127}}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
).fullmatch
_is_identifier = re.compile("[a-f0-9]{64}").fullmatch
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FILE_MODE = 0o644
_POD_LEVEL = ("cpu", "memory")
_OLD_NOTES = frozenset(
    f"pod.{stage}.kubernetes.io/init-{what}"
    for stage in ("alpha", "beta")
    for what in ("containers", "container-statuses")
)


def pod_spec(spec: Object, *, whole_pod: bool) -> None:
    """Fills a pod spec in place; some defaults hold in pods only, not in templates (``whole_pod``)."""
    for container in spec.get("initContainers") or ():
        _container(container, spec, whole_pod)
    for container in spec.get("containers") or ():
        _container(container, spec, whole_pod)
    for container in spec.get("ephemeralContainers") or ():
        _container(container, spec, whole_pod=False)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    fill_empty(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
    )
    fill(spec, terminationGracePeriodSeconds=30)
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    _service_account(spec)
    resources = spec.get("resources") or {}
    rounded(spec.get("overhead"), resources.get("limits"), resources.get("requests"))
    if whole_pod:
        fill(spec, enableServiceLinks=True)
        _pod_level_resources(spec)


def template(owner: Object, *path: str) -> None:
    """Defaults the pod template at ``owner.spec.PATH`` (``template`` unless said), also one that is left out."""
    found = made(owner, "spec", *(path or ("template",)))
    forget_old_notes(made(found, "metadata"))
    pod_spec(made(found, "spec"), whole_pod=False)


def forget_old_notes(metadata: Object) -> None:
    """Takes away the annotations that told of init containers before there were fields for them."""
    if (notes := metadata.get("annotations")) and not _OLD_NOTES.isdisjoint(notes):
        metadata["annotations"] = {key: value for key, value in notes.items() if key not in _OLD_NOTES}
        if not metadata["annotations"]:
            del metadata["annotations"]


def _service_account(spec: Object) -> None:
    """The old name of the field mirrors the new one."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _container(container: Object, spec: Object, whole_pod: bool) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    fill_empty(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    for port in container.get("ports") or ():
        fill_empty(port, protocol="TCP")
        if whole_pod and spec.get("hostNetwork") and not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            if source.get("fieldRef") is not None:
                fill_empty(source["fieldRef"], apiVersion="v1")
            if source.get("resourceFieldRef") is not None:
                fill(source["resourceFieldRef"], divisor="0")
            if source.get("fileKeyRef") is not None:
                fill(source["fileKeyRef"], optional=False)
    for key in _PROBES:
        if (probe := container.get(key)) is not None:
            _probe(probe)
    for moment in ("postStart", "preStop"):
        if handler := (container.get("lifecycle") or {}).get(moment):
            _http_get(handler)
    _container_resources(container, whole_pod)


def _container_resources(container: Object, whole_pod: bool) -> None:
    resources = container.setdefault("resources", {})
    limits, requests = resources.get("limits"), resources.get("requests")
    if whole_pod and limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)
    rounded(limits, requests)


def pull_policy(image: str) -> str:
    """``Always`` for the tag ``latest``, said or meant: it is where there is neither tag nor digest."""
    found = _image(image)
    if found is None or _is_identifier(image):
        return "IfNotPresent"  # no image's name: that is told elsewhere
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _probe(probe: Object) -> None:
    fill_empty(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _http_get(probe)
    if probe.get("grpc") is not None:
        fill(probe["grpc"], service="")


def _http_get(handler: Object) -> None:
    if (get := handler.get("httpGet")) is not None:
        fill_empty(get, path="/", scheme="HTTP")


def _volume(volume: Object) -> None:
    if all(volume[key] is None for key in volume if key != "name"):
        volume["emptyDir"] = {}
        return
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(source) is not None:
            fill(volume[source], defaultMode=_FILE_MODE)
    _downward_items((volume.get("downwardAPI") or {}).get("items") or ())
    for source in (volume.get("projected") or {}).get("sources") or ():
        _downward_items((source.get("downwardAPI") or {}).get("items") or ())
        if (token := source.get("serviceAccountToken")) is not None:
            fill(token, expirationSeconds=3600)
    if (image := volume.get("image")) is not None:
        fill_empty(image, pullPolicy=pull_policy(image.get("reference") or ""))
    if (claim := (volume.get("ephemeral") or {}).get("volumeClaimTemplate")) is not None:
        made(claim, "metadata")
        claim_spec(made(claim, "spec"))
    volume_source(volume)


def claim_spec(spec: Object) -> None:
    """Defaults of a PersistentVolumeClaim's spec, wherever it stands."""
    fill(spec, volumeMode="Filesystem", resources={})
    rounded(spec["resources"].get("requests"), spec["resources"].get("limits"))


def _downward_items(items: Sequence[Object]) -> None:
    for item in items:
        if item.get("fieldRef") is not None:
            fill_empty(item["fieldRef"], apiVersion="v1")
        if item.get("resourceFieldRef") is not None:
            fill(item["resourceFieldRef"], divisor="0")


def volume_source(source: Object) -> None:
    """Defaults of the sources that volumes and PersistentVolumes have in common."""
    if source.get("hostPath") is not None:
        fill(source["hostPath"], type="")
    if source.get("iscsi") is not None:
        fill_empty(source["iscsi"], iscsiInterface="default")
    if source.get("rbd") is not None:
        fill_empty(source["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if source.get("azureDisk") is not None:
        fill(source["azureDisk"], cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)
    if source.get("scaleIO") is not None:
        fill_empty(source["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")


def _pod_level_resources(spec: Object) -> None:
    """Where a pod asks as a whole: huge pages as its containers limit them; requests as theirs, else its limits."""
    resources = spec.get("resources")
    if resources is None or not (resources.get("limits") or resources.get("requests")):
        return
    bare = {"spec": {**spec, "resources": None, "overhead": None}}
    for name, limit in usage.pod_limits(bare).items():
        if name.startswith("hugepages-"):
            resources.setdefault("limits", {}).setdefault(name, limit.canonical())
    limits = resources.get("limits")
    if not limits:
        return
    requests = resources.setdefault("requests", {})
    for name, request in usage.pod_requests(bare).items():
        if name in _POD_LEVEL:  # of huge pages no more is limited than is asked for
            requests.setdefault(name, request.canonical())
    for name, limit_text in limits.items():
        if name in _POD_LEVEL or name.startswith("hugepages-"):
            requests.setdefault(name, limit_text)
