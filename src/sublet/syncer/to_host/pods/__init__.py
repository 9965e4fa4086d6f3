"""Pods, tenant to host: the host runs them; each believes to be in the tenant's cluster (reference 2.4, 2.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.syncer import servicespec
from sublet.syncer.declare import WRITE, Follow, Pair, Rule, Scope, ToHost, Waiting, copied
from sublet.syncer.to_host.pods import identity, scheduling, status, tokens
from sublet.syncer.to_host.pods.spec import Surroundings, host_spec, translate_container, uses_cluster_dns

_PODS = resource("pods")
_SERVICES = resource("services")
_NAMESPACES = resource("namespaces")
_NODES = resource("nodes")
_NODE_INDEX = "pods by node"


class Settings(Struct, frozen=True):
    enabled: bool = True
    translate_image: dict[str, str] = field(default_factory=dict)
    """Image as tenants write it -> image that the host runs; exact matches."""
    enforce_tolerations: list[str] = field(default_factory=list)
    """``key[=value]:effect``; every pod on the host has them."""
    use_secrets_for_sa_tokens: bool = field(default=False, name="useSecretsForSATokens")
    """Carry ServiceAccount tokens in Secrets instead of pod annotations."""
    runtime_class_name: str = ""
    priority_class_name: str = ""


# -- creation --


async def to_host(tenant: Object, scope: Scope, settings: Settings) -> Object:
    """Asks the tenant's API for tokens; waits until API and DNS have addresses."""
    if tenant["spec"].get("resourceClaims"):
        raise Waiting("pods with resource claims are not synced to the host", seconds=60)
    around = surroundings(tenant, scope, settings)
    _check_node(tenant, scope)
    made = await tokens.issue(tenant, scope, in_secret=settings.use_secrets_for_sa_tokens)
    around = replace(around, tokens=made)
    annotations = {}
    if made.secret:
        await tokens.store(tenant, made, scope)
    else:
        annotations = {key: made.issued[source] for source, key in made.annotations.items()}
    return {"metadata": {"annotations": annotations}, "spec": host_spec(tenant, around)}


def surroundings(tenant: Object, scope: Scope, settings: Settings) -> Surroundings:
    """Raises :class:`Waiting` while an address is missing."""
    namespace = objects.namespace(tenant)
    return Surroundings(
        mapping=scope.mapping,
        service_account=scope.settings.service_account,
        cluster_domain=scope.settings.cluster_domain,
        api_address=_api_address(scope),
        dns_address=_dns_address(scope) if uses_cluster_dns(tenant["spec"]) else "",
        services=tuple(
            service
            for service in scope.tenant_objects(_SERVICES).list(namespace)
            if objects.key(service) != servicespec.API_SERVICE
        ),
        images=dict(settings.translate_image),
        tolerations=tuple(_toleration(text) for text in settings.enforce_tolerations),
        runtime_class=settings.runtime_class_name,
        priority_class=settings.priority_class_name,
        node_selector=dict(_node_settings(scope).selector.labels),
    )


def _node_settings(scope: Scope) -> Any:
    """``sync.fromHost.nodes``: which nodes the tenant may see and use."""
    if scope.settings.sync is None:
        raise RuntimeError("the syncer was started without the settings of synced kinds")
    return scope.settings.sync.from_host["nodes"]


def _check_node(tenant: Object, scope: Scope) -> None:
    """A pod that names its node may only name one that the tenant has."""
    node = tenant["spec"].get("nodeName")
    if node and _node_settings(scope).enabled and scope.tenant_objects(_NODES).get("", node) is None:
        raise Waiting(f'node "{node}" is not one of this cluster', seconds=15)


def _api_address(scope: Scope) -> str:
    address = scope.service.cluster_ip
    if not address or address == "None":
        raise Waiting("waiting for the address of the tenant's API", reason="SyncError")
    return address


def _dns_address(scope: Scope) -> str:
    key = scope.settings.dns_service
    if not key:
        return ""
    found = scope.host_object(_SERVICES, key)
    address = ((found or {}).get("spec") or {}).get("clusterIP") or ""
    if not address or address == "None":
        raise Waiting("waiting for DNS service IP", seconds=0.5)
    return str(address)


def _toleration(text: str) -> dict[str, str]:
    """``key=value:effect``, ``key:effect``, ``key`` or ``*``."""
    rest, _, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    found = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
    if key and key != "*":
        found["key"] = key
    if effect:
        found["effect"] = effect
    return found


# -- afterwards --


def update(pair: Pair, scope: Scope, settings: Settings) -> None:
    """What may change after creation, and the status back."""
    _images(pair, settings)
    pair.to_host("spec.activeDeadlineSeconds")
    spec = pair.host["spec"]
    wanted = scheduling.merged_tolerations(
        spec.get("tolerations") or [], pair.tenant["spec"].get("tolerations") or []
    )
    if wanted != (spec.get("tolerations") or []):
        spec["tolerations"] = wanted
    if spec.get("schedulingGates"):
        kept = pair.tenant["spec"].get("schedulingGates") or []
        spec["schedulingGates"] = [gate for gate in spec["schedulingGates"] if gate in kept]
    if _node_is_known(pair, scope):
        status.update(pair, scope.mapping, settings.translate_image)


def _images(pair: Pair, settings: Settings) -> None:
    for place in ("initContainers", "containers"):
        if not pair.tenant_changed(f"spec.{place}"):
            continue
        wanted = {c["name"]: c.get("image") for c in pair.tenant["spec"].get(place) or ()}
        for container in pair.host["spec"].get(place) or ():
            image = wanted.get(container["name"])
            if image:
                container["image"] = settings.translate_image.get(image, image)


def _node_is_known(pair: Pair, scope: Scope) -> bool:
    """A pod may only be on a node that the tenant has; until then its status would contradict itself."""
    node = pair.host_now["spec"].get("nodeName")
    if not node or pair.tenant_now["spec"].get("nodeName"):
        return True
    return scope.tenant_objects(_NODES).get("", node) is not None


async def before(pair: Pair, scope: Scope, _settings: Settings) -> None:
    """Binds the tenant's pod to the node that the host chose."""
    node, mine = pair.host_now["spec"].get("nodeName"), pair.tenant_now["spec"].get("nodeName")
    name, namespace = objects.name(pair.tenant_now), objects.namespace(pair.tenant_now)
    if not node or node == mine or objects.is_deleting(pair.tenant_now):
        return
    if mine:
        # A pod cannot move: this one is not the one that runs.
        await scope.tenant.delete(_PODS, name, namespace, grace=0, uid=objects.uid(pair.tenant_now))
        return
    if not _node_is_known(pair, scope):
        return
    binding: Object = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": objects.uid(pair.tenant_now)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    try:
        await scope.tenant.create(_PODS, binding, namespace, subresource="binding", name=name)
    except Conflict as error:
        current = await scope.tenant.get(_PODS, name, namespace)
        if current["spec"].get("nodeName") != node:
            raise error


async def after(pair: Pair, scope: Scope, settings: Settings) -> None:
    """Debug containers and resources have endpoints of their own."""
    just_created = pair.last_host is not None and not objects.uid(pair.last_host)
    if settings.use_secrets_for_sa_tokens and just_created:
        name = f"{objects.name(pair.tenant_now)}-sa-token"
        try:
            host_name = scope.mapping.host_name(name, objects.namespace(pair.tenant_now))
            await tokens.give_to_pod(pair.host_now, host_name, scope)
        except NotFound:
            pass  # the pod has no tokens
    await _debug_containers(pair, scope, settings)
    await _resize(pair, scope)


async def _debug_containers(pair: Pair, scope: Scope, settings: Settings) -> None:
    there = {c["name"] for c in pair.host_now["spec"].get("ephemeralContainers") or ()}
    new = [c for c in pair.tenant_now["spec"].get("ephemeralContainers") or () if c["name"] not in there]
    if not new:
        return
    around = surroundings(pair.tenant_now, scope, settings)
    made = []
    for container in copied({"all": new})["all"]:
        translate_container(container, objects.namespace(pair.tenant_now), around)
        made.append(container)
    patch = {"spec": {"ephemeralContainers": made}}
    await scope.host.patch(
        _PODS, objects.name(pair.host_now), patch, objects.namespace(pair.host_now),
        kind="strategic", subresource="ephemeralcontainers",
    )  # fmt: skip


async def _resize(pair: Pair, scope: Scope) -> None:
    """Passes on changed resources of running containers."""
    if pair.last_tenant is None:
        return
    before = {c["name"]: c.get("resources") for c in pair.last_tenant["spec"]["containers"]}
    changed = [
        {"name": c["name"], "resources": c.get("resources") or {}}
        for c in pair.tenant_now["spec"]["containers"]
        if c["name"] in before and c.get("resources") != before[c["name"]]
    ]
    if not changed:
        return
    name, namespace = objects.name(pair.host_now), objects.namespace(pair.host_now)
    try:
        await scope.host.patch(
            _PODS, name, {"spec": {"containers": changed}}, namespace, kind="strategic", subresource="resize"
        )
    except NotFound as error:
        raise StatusError(f"the host does not resize pods: {error.message}", code=501, reason="") from None


def started(tenant: Object) -> bool:
    """A pod that has run cannot run again."""
    return bool((tenant.get("status") or {}).get("startTime"))


def wanted(tenant: Object, _scope: Scope, _settings: Any) -> bool:
    """Every pod; one that is over and has no copy any more stays as it is."""
    return not objects.annotations(tenant).get("kubernetes.io/config.mirror")


def _pods_on(node: Object, scope: Scope) -> Iterable[str]:
    """The pods that wait for a node to be there, by their copies."""
    pods = scope.host_objects(_PODS)
    pods.add_index(_NODE_INDEX, lambda pod: (pod["spec"].get("nodeName") or "",))
    for pod in pods.by_index(_NODE_INDEX, objects.name(node)):
        if key := scope.mapping.tenant_key(pod, _PODS):
            yield key


def _pods_in(namespace: Object, scope: Scope) -> Iterable[str]:
    return (objects.key(pod) for pod in scope.tenant_objects(_PODS).list(objects.name(namespace)))


def _host_rules(_settings: Settings) -> list[Rule]:
    return [
        Rule(("",), ("pods",), WRITE),
        Rule(("",), ("pods/status", "pods/ephemeralcontainers", "pods/resize"), ("patch", "update")),
        Rule(("",), ("pods/log",), ("get", "list", "watch")),
        Rule(("",), ("pods/attach", "pods/exec", "pods/portforward", "pods/proxy"), ("create", "get")),
        # The tokens of pods may travel in Secrets, whether or not the tenant's own are synced.
        Rule(("",), ("secrets",), ("create", "delete", "get", "patch", "update")),
    ]


SYNC = ToHost(
    resource=_PODS,
    key="pods",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=wanted,
    follows=(
        Follow(_NAMESPACES, _pods_in, frozenset({"update"})),
        Follow(_NODES, _pods_on, frozenset({"add"})),
        Follow(_SERVICES, lambda _service, _scope: (), frozenset()),
    ),
    decorate=identity.decorate,
    not_copied=identity.NOT_COPIED,
    status=True,
    before=before,
    after=after,
    graceful=True,
    started=started,
    host_rules=_host_rules,
)
