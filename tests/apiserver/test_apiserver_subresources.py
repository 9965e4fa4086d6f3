from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import Request, User
from sublet.kinds import protobuf
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Conflict, Forbidden, Invalid, NotFound, TooManyRequests

NAMESPACES = resource("namespaces")
PODS, BUDGETS, DEPLOYMENTS = (
    resource("pods"),
    resource("poddisruptionbudgets.policy"),
    resource("deployments.apps"),
)
CSRS = resource("certificatesigningrequests.certificates.k8s.io")
MAKE = Callable[..., Object]


def binding(node: str = "n1", name: str = "web") -> Object:
    return {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}


async def test_a_binding_gives_the_pod_a_node(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod())
    status = await client.create(PODS, binding(), "default", subresource="binding", name="web")
    assert (status["status"], status["code"]) == ("Success", 201)
    bound = await client.get(PODS, "web", "default")
    assert bound["spec"]["nodeName"] == "n1"
    assert objects.is_true(bound, "PodScheduled")
    (entry,) = bound["metadata"]["managedFields"]
    assert "subresource" not in entry and "f:nodeName" not in entry["fieldsV1"]["f:spec"]  # nobody owns it


async def test_a_bound_pod_is_still_in_its_first_generation(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    await client.create(PODS, binding(), "default", subresource="binding", name="web")
    assert (await client.get(PODS, "web", "default"))["metadata"]["generation"] == 1


async def test_a_bound_pod_is_not_meant_for_a_node_any_more_and_its_conditions_keep_their_order(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    conditions = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
        {"type": "other", "status": "True"},
    ]
    status = {"nominatedNodeName": "n0", "conditions": conditions}
    await client.patch(PODS, "web", {"status": status}, "default", subresource="status")
    await client.create(PODS, binding(), "default", subresource="binding", name="web")
    found = (await client.get(PODS, "web", "default"))["status"]
    assert "nominatedNodeName" not in found
    assert [(each["type"], each["status"]) for each in found["conditions"]] == [
        ("PodScheduled", "True"), ("other", "True"),
    ]  # fmt: skip


async def test_the_old_bindings_resource_does_the_same(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    await client.create(resource("bindings"), binding(), "default")
    assert (await client.get(PODS, "web", "default"))["spec"]["nodeName"] == "n1"


async def test_a_pod_is_bound_once(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod(nodeName="n1"))
    with pytest.raises(Conflict, match=r'pod web is already assigned to node "n1"'):
        await client.create(PODS, binding("n2"), "default", subresource="binding", name="web")


async def test_a_binding_needs_a_node(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod())
    with pytest.raises(Invalid, match=r"target.name: Required value"):
        await client.create(PODS, binding(""), "default", subresource="binding", name="web")


@pytest.mark.parametrize(("key", "word"), [("uid", "UID"), ("resourceVersion", "ResourceVersion")])
async def test_a_binding_may_mean_one_state_of_a_pod(
    client: Client, default_account: None, make_pod: MAKE, key: str, word: str
) -> None:
    made = await client.create(PODS, make_pod())
    meant = binding()
    meant["metadata"][key] = "1"
    with pytest.raises(Conflict) as refused:
        await client.create(PODS, meant, "default", subresource="binding", name="web")
    assert refused.value.message == (
        'Operation cannot be fulfilled on pods "web": StorageError: invalid object, Code: 4, '
        "Key: /registry/pods/default/web, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
        f"{word} in precondition: 1, {word} in object meta: {made['metadata'][key]}"
    )
    meant["metadata"][key] = made["metadata"][key]
    await client.create(PODS, meant, "default", subresource="binding", name="web")


def eviction() -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "web", "namespace": "default"},
    }


async def running(client: Client, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod(nodeName="n1"))
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await client.patch(PODS, "web", ready, "default", kind="strategic", subresource="status")


async def budget(client: Client, allowed: int) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    await client.create(BUDGETS, {"metadata": {"name": "b", "namespace": "default"}, "spec": spec})
    status = {
        "disruptionsAllowed": allowed, "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
    }  # fmt: skip
    await client.patch(BUDGETS, "b", {"status": status}, "default", subresource="status")


async def test_an_eviction_deletes_the_pod_and_says_why(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    await client.create(PODS, eviction(), "default", subresource="eviction", name="web")
    gone = await client.get(PODS, "web", "default")
    assert gone["metadata"]["deletionTimestamp"]
    assert objects.condition(gone, "DisruptionTarget")["reason"] == "EvictionByEvictionAPI"  # type: ignore[index]


async def test_a_budget_that_allows_none_refuses(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    await budget(client, 0)
    with pytest.raises(
        TooManyRequests, match=r"Cannot evict pod as it would violate the pod's disruption budget"
    ) as refused:
        await client.create(PODS, eviction(), "default", subresource="eviction", name="web")
    assert refused.value.causes[0].reason == "DisruptionBudget"
    assert "deletionTimestamp" not in (await client.get(PODS, "web", "default"))["metadata"]


async def test_a_pod_of_several_budgets_is_not_evicted(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    for name in ("one", "two"):
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }
        await client.create(BUDGETS, body)
    response = await client.raw(
        "POST", PODS.path("default", "web", "eviction"), body=codec.encode_json(eviction())
    )
    status = codec.decode_json(response.body)
    assert response.status == 201  # upstream answers the failure as what was created
    assert status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        "code": 500,
    }


async def test_another_name_in_an_eviction_is_refused(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    body = eviction()
    body["metadata"]["name"] = "other"
    with pytest.raises(BadRequest, match=r"^name in URL does not match name in Eviction object$"):
        await client.create(PODS, body, "default", subresource="eviction", name="web")
    body["metadata"] = {"name": "web", "namespace": "elsewhere"}
    with pytest.raises(BadRequest, match=r"^the namespace of the provided object does not match"):
        await client.create(PODS, body, "default", subresource="eviction", name="web")


async def test_an_eviction_uses_its_budget(client: Client, default_account: None, make_pod: MAKE) -> None:
    await running(client, make_pod)
    await budget(client, 1)
    await client.create(PODS, eviction(), "default", subresource="eviction", name="web")
    status = (await client.get(BUDGETS, "b", "default"))["status"]
    assert status["disruptionsAllowed"] == 0
    assert list(status["disruptedPods"]) == ["web"]


async def test_the_last_disruption_a_budget_allows_is_said_to_be_used(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    await budget(client, 1)
    await client.create(PODS, eviction(), "default", subresource="eviction", name="web")
    condition = objects.condition(await client.get(BUDGETS, "b", "default"), "DisruptionAllowed")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "InsufficientPods")
    assert condition["observedGeneration"] == 1


async def test_a_pod_that_needs_no_budget_also_says_why_it_went(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    pod = make_pod(nodeName="n1")
    pod["metadata"]["finalizers"] = ["a.b/c"]
    await client.create(PODS, pod)
    await budget(client, 0)
    await client.create(PODS, eviction(), "default", subresource="eviction", name="web")
    gone = await client.get(PODS, "web", "default")
    condition = objects.condition(gone, "DisruptionTarget")
    assert condition is not None and gone["metadata"]["deletionTimestamp"]
    assert condition["observedGeneration"] == 1
    assert condition["lastProbeTime"] is None and "lastProbeTime" in condition


async def test_an_eviction_means_the_pod_of_one_version_and_uid(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    pod = await client.get(PODS, "web", "default")
    stands = pod["metadata"]
    for word, field, wrong in (("UID", "uid", "other"), ("ResourceVersion", "resourceVersion", "1")):
        body = {**eviction(), "deleteOptions": {"preconditions": {field: wrong}}}
        with pytest.raises(Conflict) as refused:
            await client.create(PODS, body, "default", subresource="eviction", name="web")
        assert refused.value.message.startswith(
            f'Operation cannot be fulfilled on Pod "web": the {word} in the precondition ({wrong}) does not match'
        )
        assert await client.get(PODS, "web", "default") == pod  # nothing is said on it
    right = {"uid": stands["uid"], "resourceVersion": stands["resourceVersion"]}
    body = {**eviction(), "deleteOptions": {"preconditions": right}}
    await client.create(PODS, body, "default", subresource="eviction", name="web")
    assert (await client.get(PODS, "web", "default"))["metadata"]["deletionTimestamp"]


async def test_a_dry_run_of_an_eviction_changes_nothing(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    before = await client.get(PODS, "web", "default")
    await client.create(PODS, eviction(), "default", subresource="eviction", name="web", dry_run=True)
    assert await client.get(PODS, "web", "default") == before


async def deployed(client: Client) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return await client.create(
        DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    )


async def test_scale_shows_replicas_and_selector(client: Client) -> None:
    made = await deployed(client)
    scale = await client.get(DEPLOYMENTS, "web", "default", subresource="scale")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 0, "selector": "a=b"}
    assert scale["metadata"]["uid"] == objects.uid(made)


async def test_a_scale_has_columns_of_its_own_and_a_protobuf_form(api: APIServer, client: Client) -> None:
    await deployed(client)
    path = DEPLOYMENTS.path("default", "web", "scale")

    async def ask(accept: str) -> bytes:
        request = Request("GET", path, headers={"accept": accept}, user=User("admin", ("system:masters",)))
        response = await api.handle(request)
        assert response.status == 200 and isinstance(response.body, bytes)
        return response.body

    found = codec.decode_json(await ask("application/json;as=Table;v=v1;g=meta.k8s.io"))
    assert [column["name"] for column in found["columnDefinitions"]] == [
        "Name",
        "Desired",
        "Available",
        "Age",
    ]
    assert found["rows"][0]["cells"][:3] == ["web", 1, 0]
    assert found["rows"][0]["object"]["metadata"]["name"] == "web"
    packed = protobuf.codec().decode_object(await ask("application/vnd.kubernetes.protobuf"))
    assert (packed["kind"], packed["spec"]) == ("Scale", {"replicas": 1})


async def test_scale_sets_replicas_alone(client: Client) -> None:
    await deployed(client)
    scale = await client.get(DEPLOYMENTS, "web", "default", subresource="scale")
    scale["spec"]["replicas"] = 4
    assert (await client.update(DEPLOYMENTS, scale, subresource="scale"))["spec"]["replicas"] == 4
    after = await client.get(DEPLOYMENTS, "web", "default")
    assert (after["spec"]["replicas"], after["metadata"]["generation"]) == (4, 2)


async def test_a_scale_is_judged_before_it_is_compared(client: Client) -> None:
    await deployed(client)
    scale = await client.get(DEPLOYMENTS, "web", "default", subresource="scale")
    stands = scale["metadata"]["uid"]
    scale["metadata"] |= {"uid": "another", "resourceVersion": "1"}
    scale["spec"]["replicas"] = -1
    with pytest.raises(
        Invalid, match=r"spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    ):
        await client.update(DEPLOYMENTS, scale, subresource="scale")
    scale["spec"]["replicas"] = 1
    with pytest.raises(Conflict) as refused:
        await client.update(DEPLOYMENTS, scale, subresource="scale")
    assert refused.value.message == (
        'Operation cannot be fulfilled on deployments/scale.apps "web": Precondition failed: '
        f"UID in precondition: another, UID in object meta: {stands}"
    )
    scale["metadata"]["uid"] = stands
    with pytest.raises(
        Conflict, match=r'^Operation cannot be fulfilled on deployments\.apps "web": the object has'
    ):
        await client.update(DEPLOYMENTS, scale, subresource="scale")


async def test_scale_of_an_old_version_conflicts(client: Client) -> None:
    await deployed(client)
    scale = await client.get(DEPLOYMENTS, "web", "default", subresource="scale")
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}}, "default")
    with pytest.raises(Conflict):
        await client.update(DEPLOYMENTS, scale, subresource="scale")


async def test_scale_may_not_be_negative(client: Client) -> None:
    await deployed(client)
    with pytest.raises(
        Invalid,
        match=r'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater',
    ):
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": -1}}, "default", subresource="scale")


async def applied_scale(client: Client, manager: str, replicas: int, *, force: bool = False) -> Object:
    scale = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas},
    }
    return await client.patch(
        DEPLOYMENTS,
        "web",
        scale,
        "default",
        kind="apply",
        field_manager=manager,
        force=force,
        subresource="scale",
    )


async def owners(client: Client) -> dict[str, Any]:
    found = await client.get(DEPLOYMENTS, "web", "default")
    return {
        f"{e['manager']} {e['operation']} {e['apiVersion']} {e.get('subresource', '')}".strip(): e["fieldsV1"]
        for e in found["metadata"]["managedFields"]
    }


async def test_an_applied_scale_takes_the_replicas_from_their_owner(client: Client) -> None:
    await deployed(client)
    await client.patch(
        DEPLOYMENTS, "web", {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}},
        "default", kind="apply", field_manager="owner", force=True,
    )  # fmt: skip
    with pytest.raises(Conflict) as caught:
        await applied_scale(client, "scaler", 5)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "owner": .spec.replicas'
    assert (await applied_scale(client, "scaler", 5, force=True))["spec"]["replicas"] == 5
    found = await owners(client)
    assert found["scaler Apply apps/v1 scale"] == {"f:spec": {"f:replicas": {}}}
    assert "owner Apply apps/v1" not in found
    assert (await client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 5


async def test_an_applied_scale_with_the_same_value_shares_the_replicas(client: Client) -> None:
    await deployed(client)
    await applied_scale(client, "one", 3, force=True)
    await applied_scale(client, "two", 3)
    found = await owners(client)
    both = {"f:spec": {"f:replicas": {}}}
    assert found["one Apply apps/v1 scale"] == found["two Apply apps/v1 scale"] == both


async def test_a_scale_without_a_name_is_refused(client: Client) -> None:
    await deployed(client)
    path = DEPLOYMENTS.path("default", "web", "scale")
    response = await client.raw("PUT", path, body=b'{"spec":{"replicas":1}}')
    assert response.status == 400
    assert b"the name of the object (web based on URL) was undeterminable" in response.body


async def test_ephemeral_containers_are_added_and_kept(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    changed = await client.patch(
        PODS, "web", debug, "default", kind="strategic", subresource="ephemeralcontainers"
    )
    assert changed["spec"]["ephemeralContainers"][0]["name"] == "debug"
    with pytest.raises(Invalid, match=r'existing ephemeral containers "debug" may not be removed'):
        gone = {"spec": {"ephemeralContainers": None}}
        await client.patch(PODS, "web", gone, "default", subresource="ephemeralcontainers")
    debug["spec"]["ephemeralContainers"][0]["image"] = "other"
    message = '"debug" may not be changed\n--- expected\n+++ got\n@@ -1,13 +1,13 @@\n {\n   "Name": "debug",\n-  "Image": "busybox",\n+  "Image": "other",\n'
    with pytest.raises(Invalid, match=re.escape(message)):
        await client.patch(PODS, "web", debug, "default", kind="strategic", subresource="ephemeralcontainers")


async def test_a_namespaces_finalizers_are_judged_when_they_are_set(client: Client) -> None:
    made = await client.create(NAMESPACES, {"metadata": {"name": "held"}})
    for wrong, said in (
        ("own", "name is neither a standard finalizer name nor is it fully qualified"),
        ("a b/c", "prefix part a lowercase RFC 1123 subdomain must consist of"),
    ):
        with pytest.raises(Invalid) as refused:
            named = {**made, "spec": {"finalizers": ["kubernetes", wrong]}}
            await client.update(NAMESPACES, named, subresource="finalize")
        assert refused.value.message.startswith(
            f'Namespace "held" is invalid: spec.finalizers[1]: Invalid value: "{wrong}": {said}'
        )
    kept = {**made, "spec": {"finalizers": ["kubernetes", "example.com/own"]}}
    changed = await client.update(NAMESPACES, kept, subresource="finalize")
    assert changed["spec"]["finalizers"] == ["kubernetes", "example.com/own"]


async def test_resize_changes_cpu_and_memory_alone(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    container = {
        "name": "c",
        "image": "i",
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}},
    }
    await client.create(PODS, make_pod(containers=[container]))
    more = {
        "spec": {"containers": [{"name": "c", "image": "other", "resources": {"requests": {"cpu": "150m"}}}]}
    }
    changed = await client.patch(PODS, "web", more, "default", kind="strategic", subresource="resize")
    (after,) = changed["spec"]["containers"]
    assert (after["resources"]["requests"]["cpu"], after["image"]) == ("150m", "i")


async def request(client: Client) -> Object:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    text = base64.b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    return await client.create(CSRS, {"metadata": {"name": "jane"}, "spec": spec})


async def test_approval_writes_conditions_alone(client: Client) -> None:
    made = await request(client)
    made["status"] = {
        "conditions": [{"type": "Approved", "status": "True", "reason": "r"}],
        "certificate": "eA==",
    }
    approved = await client.update(CSRS, made, subresource="approval")
    assert objects.is_true(approved, "Approved")
    assert "certificate" not in approved["status"]


async def test_approval_may_annotate(client: Client) -> None:
    made = await request(client)
    made["metadata"]["annotations"] = {"approved-by": "jane"}
    made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}
    approved = await client.update(CSRS, made, subresource="approval")
    assert approved["metadata"]["annotations"] == {"approved-by": "jane"}


async def test_conditions_of_a_request_tell_their_times(client: Client) -> None:
    made = await request(client)
    made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}
    [condition] = (await client.update(CSRS, made, subresource="approval"))["status"]["conditions"]
    since = condition["lastTransitionTime"]
    assert condition["lastUpdateTime"] == since
    patch = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "again"}]}}
    patched = await client.patch(CSRS, made["metadata"]["name"], patch, subresource="approval")
    assert patched["status"]["conditions"][0]["lastTransitionTime"] == since


async def test_a_pods_status_has_what_kubernetes_always_writes(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    told = {
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "app", "state": {"terminated": {"reason": "Error"}}}],
    }
    status = (await client.patch(PODS, "web", {"status": told}, "default", subresource="status"))["status"]
    times = {"lastProbeTime": None, "lastTransitionTime": None}
    assert status["conditions"] == [{"type": "Ready", "status": "False", **times}]
    [container] = status["containerStatuses"]
    assert container["state"] == {
        "terminated": {"reason": "Error", "exitCode": 0, "startedAt": None, "finishedAt": None}
    }
    assert (container["lastState"], container["ready"], container["restartCount"]) == ({}, False, 0)
    assert (container["image"], container["imageID"]) == ("", "")


async def test_a_volume_tells_since_when_it_is_in_its_phase(client: Client) -> None:
    volumes = resource("persistentvolumes")
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    made = await client.create(volumes, {"metadata": {"name": "v"}, "spec": spec})
    assert made["status"]["lastPhaseTransitionTime"] == made["metadata"]["creationTimestamp"]
    told = {"status": {"phase": "Available", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}}
    found = await client.patch(volumes, "v", told, subresource="status")
    assert found["status"]["lastPhaseTransitionTime"] == "2026-01-01T00:00:00Z"
    found = await client.patch(volumes, "v", {"status": {"message": "m"}}, subresource="status")
    assert found["status"]["lastPhaseTransitionTime"] == "2026-01-01T00:00:00Z"
    found = await client.patch(volumes, "v", {"status": {"phase": "Failed"}}, subresource="status")
    assert found["status"]["lastPhaseTransitionTime"] > "2026-01-01T00:00:00Z"


async def test_only_who_may_approve_for_the_signer_does(api: APIServer, client: Client) -> None:
    made = await request(client)
    group = "certificates.k8s.io"
    rule = {"verbs": ["update"], "apiGroups": [group], "resources": ["certificatesigningrequests/approval"]}
    rbac = "rbac.authorization.k8s.io"
    await client.create(resource(f"clusterroles.{rbac}"), {"metadata": {"name": "approver"}, "rules": [rule]})
    await client.create(
        resource(f"clusterrolebindings.{rbac}"),
        {
            "metadata": {"name": "approver"}, "roleRef": {"kind": "ClusterRole", "name": "approver", "apiGroup": rbac},
            "subjects": [{"kind": "User", "name": "ann", "apiGroup": rbac}],
        },
    )  # fmt: skip
    made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}
    ann = api.client_as(User("ann", ("system:authenticated",)), "t")
    with pytest.raises(
        Forbidden, match=r'user not permitted to approve requests with signerName "kubernetes.io/kube-'
    ):
        await ann.update(CSRS, made, subresource="approval")


async def test_a_subresource_that_the_kind_lacks_is_not_served(client: Client, make_config_map: MAKE) -> None:
    await client.create(resource("configmaps"), make_config_map())
    with pytest.raises(NotFound):
        await client.get(resource("configmaps"), "settings", "default", subresource="status")


async def test_another_name_in_a_binding_is_refused(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    with pytest.raises(BadRequest, match=r"^name in URL does not match name in Binding object$"):
        await client.create(PODS, binding(name="other"), "default", subresource="binding", name="web")
