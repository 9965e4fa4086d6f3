from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.admission.plugins.podsecurity import _prioritized
from sublet.apiserver.admission.podsecurity import LEVELS, Standard, evaluate, policy_of
from sublet.apiserver.admission.podsecurity_checks import BASELINE, RESTRICTED
from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, Invalid

PODS, NAMESPACES, DEPLOYMENTS = resource("pods"), resource("namespaces"), resource("deployments.apps")
CONFIG_MAPS = resource("configmaps")
MAKE = Callable[..., Object]
PREFIX = "pod-security.kubernetes.io/"


def container(name: str = "c", **security: Any) -> Object:
    return {"name": name, "image": "i", "securityContext": security}


def spec(*containers: Object, **more: Any) -> Object:
    return {**more, "containers": list(containers)}


def told(level: str, pod_spec: Object, minor: int = 36, annotations: Any = None) -> list[str]:
    pod = {"metadata": {"annotations": annotations or {}}, "spec": pod_spec}
    return [str(violation) for violation in evaluate(Standard(level, minor), pod)]


GOOD = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
APPARMOR = "container.apparmor.security.beta.kubernetes.io/c"


def probing(host: str) -> Object:
    return {"name": "c", "livenessProbe": {"httpGet": {"port": 80, "host": host}}}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (spec(hostNetwork=True, hostIPC=True), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (spec(container(privileged=True)), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (spec(container("a", privileged=True), container("b", privileged=True)),
         'privileged (containers "a", "b" must not set securityContext.privileged=true)'),
        (spec(container(capabilities={"add": ["SYS_ADMIN", "CHOWN", "NET_RAW"]})),
         'non-default capabilities (container "c" must not include "NET_RAW", "SYS_ADMIN" in securityContext.capabilities.add)'),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (spec({"name": "c", "ports": [{"hostPort": 80}]}), 'hostPort (container "c" uses hostPort 80)'),
        (spec({"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}]}, {"name": "b", "ports": [{"hostPort": 80}]}),
         'hostPort (containers "a", "b" use hostPorts 443, 80)'),
        (spec(container(procMount="Unmasked")), 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'),
        (spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}]}), "forbidden sysctls (kernel.msgmax)"),
        (spec(probing("10.0.0.1")), 'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")'),
        (spec(container(seccompProfile={"type": "Unconfined"}), securityContext={"seccompProfile": {"type": "Unconfined"}}),
         'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")'),
        (spec(container(seLinuxOptions={"type": "spc_t", "user": "u"})),
         'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)'),
        (spec(container(appArmorProfile={"type": "Unconfined"})),
         'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")'),
        (spec(securityContext={"windowsOptions": {"hostProcess": True}}),
         "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
    ],
)  # fmt: skip
def test_baseline_forbids(pod: Object, reason: str) -> None:
    assert told("baseline", pod) == [reason]


def test_annotations_of_apparmor_count_too() -> None:
    found = told("baseline", spec(container()), annotations={APPARMOR: "unconfined"})
    shown = f'{APPARMOR}="unconfined"'
    assert found == [
        f'forbidden AppArmor profile (annotation must not set AppArmor profile type to "{shown}")'
    ]


def test_restricted_names_all_that_is_missing() -> None:
    assert told("restricted", spec({"name": "c"})) == [
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
    ]


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (spec(container(**GOOD), volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {}}]),
         'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'),
        (spec(container(**{**GOOD, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}})),
         'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)'),
        (spec(container(**{**GOOD, "runAsNonRoot": False})),
         'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)'),
        (spec(container(**GOOD, runAsUser=0), securityContext={"runAsUser": 0}),
         'runAsUser=0 (pod and container "c" must not set runAsUser=0)'),
        (spec(container(**{**GOOD, "seccompProfile": {"type": "Unconfined"}})),
         'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")'),
    ],
)  # fmt: skip
def test_restricted_tells_once_what_baseline_forbids_too(pod: Object, reason: str) -> None:
    assert told("restricted", pod) == [reason]


def test_a_careful_pod_is_restricted() -> None:
    assert told("restricted", spec(container(**GOOD))) == []


def test_privileged_forbids_nothing() -> None:
    assert told("privileged", spec(container(privileged=True), hostPID=True)) == []


@pytest.mark.parametrize(
    ("level", "pod", "minor", "allowed"),
    [
        ("baseline", spec(probing("h")), 33, True), ("baseline", spec(probing("h")), 34, False),
        ("baseline", spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), 31, False),
        ("baseline", spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), 32, True),
        ("baseline", spec(container(seLinuxOptions={"type": "container_engine_t"})), 30, False),
        ("baseline", spec(container(seLinuxOptions={"type": "container_engine_t"})), 31, True),
        ("baseline", spec(container(procMount="Unmasked"), hostUsers=False), 34, False),
        ("baseline", spec(container(procMount="Unmasked"), hostUsers=False), 35, True),
        ("restricted", spec(container(**GOOD, procMount="Unmasked"), hostUsers=False), 35, False),
        ("restricted", spec(container(**GOOD, runAsUser=0)), 22, True),
        ("restricted", spec(container(**GOOD, runAsUser=0)), 23, False),
        ("restricted", spec(container(**GOOD, runAsUser=0), hostUsers=False), 35, True),
        ("restricted", spec(container(runAsNonRoot=True)), 7, True),
        ("restricted", spec(container(runAsNonRoot=True)), 8, False),
        ("restricted", spec(container(runAsNonRoot=True), os={"name": "windows"}), 24, False),
        ("restricted", spec(container(runAsNonRoot=True), os={"name": "windows"}), 25, True),
    ],
)  # fmt: skip
def test_a_version_holds_pods_to_the_rules_of_its_time(
    level: str, pod: Object, minor: int, allowed: bool
) -> None:
    assert (told(level, pod, minor) == []) is allowed


def test_before_1_19_annotations_choose_the_seccomp_profile() -> None:
    key = "container.seccomp.security.alpha.kubernetes.io/c"
    found = told("baseline", spec(container()), 18, {key: "unconfined"})
    assert found == [f'seccompProfile (forbidden annotation {key}="unconfined")']


def test_checks_are_told_in_the_order_of_their_ids() -> None:
    for checks in (BASELINE, RESTRICTED):
        assert [check.id for check in checks] == sorted(check.id for check in checks)


def test_what_is_enforced_is_warned_about_unless_said_otherwise() -> None:
    enforced = {f"{PREFIX}enforce": "restricted", f"{PREFIX}enforce-version": "v1.30"}
    assert str(policy_of(enforced).warn) == "restricted:v1.30"
    assert str(policy_of({**enforced, f"{PREFIX}warn": "baseline"}).warn) == "baseline:latest"
    assert str(policy_of({**enforced, f"{PREFIX}warn-version": "v1.31"}).warn) == "restricted:v1.31"
    assert str(policy_of(enforced).audit) == "privileged:latest"


def test_an_unknown_level_enforces_the_strictest_and_warns_of_nothing() -> None:
    policy = policy_of({f"{PREFIX}enforce": "strict", f"{PREFIX}warn": "strict"})
    assert (policy.enforce.level, policy.warn.level) == (LEVELS[-1], "privileged")
    assert len(policy.errors) == 2


async def label(client: Client, **modes: str) -> list[str]:
    """Labels the namespace ``default``; the warnings."""
    labels = {PREFIX + mode.replace("_", "-"): level for mode, level in modes.items()}
    body = codec.encode_json({"metadata": {"labels": labels}})
    response = await client.raw(
        "PATCH",
        NAMESPACES.path("", "default"),
        body=body,
        headers={"content-type": "application/merge-patch+json"},
    )
    assert response.status == 200, response.body
    return warnings(response)


def warnings(response: Any) -> list[str]:
    texts = [value for name, value in response.headers if name.lower() == "warning"]
    return [text.removeprefix('299 - "').removesuffix('"').replace('\\"', '"') for text in texts]


async def test_the_enforced_level_refuses(client: Client, default_account: None, make_pod: MAKE) -> None:
    await label(client, enforce="baseline")
    with pytest.raises(Forbidden) as refused:
        await client.create(PODS, make_pod(hostPID=True))
    assert refused.value.message == (
        'pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    )
    await client.create(PODS, make_pod())


async def test_the_warned_level_warns(client: Client, default_account: None, make_pod: MAKE) -> None:
    await label(client, warn="restricted", warn_version="v1.30")
    response = await client.raw("POST", PODS.path("default"), body=codec.encode_json(make_pod()))
    assert response.status == 201
    (text,) = warnings(response)
    assert text.startswith(
        'would violate PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false ('
    )


async def test_a_template_that_makes_refused_pods_is_warned_about(client: Client) -> None:
    await label(client, enforce="restricted")
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": template}}  # fmt: skip
    response = await client.raw("POST", DEPLOYMENTS.path("default"), body=codec.encode_json(body))
    assert response.status == 201
    (text,) = warnings(response)
    assert text.startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false ('
    )


async def test_an_update_of_labels_is_not_held_to_the_level(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod(hostPID=True))
    await label(client, enforce="baseline")
    await client.patch(PODS, "web", {"metadata": {"labels": {"a": "b"}}}, "default")
    with pytest.raises(Forbidden, match='violates PodSecurity "baseline:latest"'):
        await client.patch(PODS, "web", [{"op": "replace", "path": "/spec/containers/0/image", "value": "new"}],
                           "default", kind="json")  # fmt: skip


async def test_a_stricter_level_warns_of_the_pods_that_break_it(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    for name in ("b", "a", "c"):
        await client.create(PODS, make_pod(name, hostPID=True))
    await client.create(PODS, make_pod("d", hostNetwork=True, hostPID=True))
    assert await label(client, enforce="baseline") == [
        'existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 3 other pods): host namespaces",
    ]
    assert await label(client, enforce="privileged") == []


@pytest.mark.parametrize(
    ("mode", "value", "why"),
    [
        ("enforce", "strict", 'Invalid value: "strict": must be one of privileged, baseline, restricted'),
        ("warn-version", "1.30", 'Invalid value: "1.30": must be "latest" or "v1.x"'),
    ],
)
async def test_labels_name_levels_and_versions_that_exist(
    client: Client, mode: str, value: str, why: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await client.patch(NAMESPACES, "default", {"metadata": {"labels": {PREFIX + mode: value}}})
    assert refused.value.message == f'Namespace "default" is invalid: metadata.labels[{PREFIX}{mode}]: {why}'


async def test_a_changed_seccomp_annotation_is_held_to_the_level_of_its_time(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.18",
    }
    await client.patch(resource("namespaces"), "default", {"metadata": {"labels": labels}})
    key = "container.seccomp.security.alpha.kubernetes.io/main"
    with pytest.raises(Forbidden, match="seccompProfile"):
        await client.patch(PODS, "web", {"metadata": {"annotations": {key: "unconfined"}}}, "default")
    other = {"container.seccomp.security.alpha.kubernetes.io/nobody": "unconfined"}
    await client.patch(PODS, "web", {"metadata": {"annotations": other}}, "default")


async def test_pods_that_are_spared_are_not_among_those_looked_at(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    """Of the rest one of each controller comes first."""

    def owned(name: str, owner: str = "", runtime: str = "") -> Object:
        pod = make_pod(name, **({"runtimeClassName": runtime} if runtime else {}))
        if owner:
            pod["metadata"]["ownerReferences"] = [{"uid": owner, "controller": True}]
        return pod

    pods = [
        owned("a", "1", "spared"),
        owned("b", "1"),
        owned("c", "1"),
        owned("d"),
        owned("e", "2"),
        owned("f"),
    ]
    ordered = _prioritized(pods, ("spared",))
    assert [pod["metadata"]["name"] for pod in ordered] == ["b", "d", "e", "f", "c"]


async def test_what_is_held_to_a_level_is_counted(
    api: APIServer, client: Client, default_account: None, make_pod: MAKE
) -> None:
    def samples() -> set[str]:
        return {line for line in api.metrics.text().splitlines() if line.startswith("pod_security_")}

    evaluations = (
        'pod_security_evaluations_total{{decision="{}",mode="{}",policy_level="{}",policy_version="{}",'
        'request_operation="create",resource="{}",subresource=""}} {}'
    )
    before = samples()
    assert evaluations.format("allow", "enforce", "privileged", "latest", "pod", 0) in before
    assert (
        'pod_security_exemptions_total{request_operation="update",resource="controller",subresource=""} 0'
        in before
    )
    await client.create(PODS, make_pod("a", hostPID=True))
    await label(
        client, enforce="baseline", enforce_version="v1.99", audit="restricted", audit_version="v1.25"
    )
    with pytest.raises(Forbidden):
        await client.create(PODS, make_pod("b", hostPID=True))
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": make_pod(hostPID=True)}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    found = samples()
    assert {
        evaluations.format("allow", "enforce", "privileged", "latest", "pod", 1),
        evaluations.format("deny", "enforce", "baseline", "future", "pod", 1),
        evaluations.format("deny", "audit", "restricted", "v1.25", "pod", 1),
        evaluations.format("deny", "audit", "restricted", "v1.25", "controller", 1),
        evaluations.format("deny", "warn", "baseline", "future", "controller", 1),
    } <= found
    assert not any("errors" in line for line in found)
