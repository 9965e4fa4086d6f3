from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.admission.podsecurity import evaluate
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, Invalid

PODS, NAMESPACES = resource("pods"), resource("namespaces")
MAKE = Callable[..., Object]


def container(**security: Any) -> Object:
    return {"name": "c", "image": "i", "securityContext": security}


GOOD = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"hostNetwork": True, "containers": []}, "host namespaces (hostNetwork=true)"),
        ({"containers": [container(privileged=True)]}, 'privileged (container "c" must not set securityContext.privileged=true)'),
        ({"containers": [container(capabilities={"add": ["SYS_ADMIN"]})]}, 'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)'),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": []}, 'hostPath volumes (volume "v")'),
        ({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}, 'hostPort (container "c" uses hostPort 80)'),
        ({"containers": [container(procMount="Unmasked")]}, 'procMount (container "c" must not set securityContext.procMount)'),
        ({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}, "containers": []}, "forbidden sysctls (kernel.msgmax)"),
    ],
)  # fmt: skip
def test_baseline_forbids(spec: Object, reason: str) -> None:
    assert [str(violation) for violation in evaluate("baseline", {"spec": spec})] == [reason]


def test_restricted_names_all_that_is_missing() -> None:
    found = evaluate("restricted", {"spec": {"containers": [{"name": "c"}]}})
    assert [violation.reason for violation in found] == [
        "allowPrivilegeEscalation != false", "unrestricted capabilities", "runAsNonRoot != true", "seccompProfile",
    ]  # fmt: skip


def test_a_careful_pod_is_restricted() -> None:
    assert evaluate("restricted", {"spec": {"containers": [container(**GOOD)]}}) == []


def test_privileged_forbids_nothing() -> None:
    assert (
        evaluate("privileged", {"spec": {"hostPID": True, "containers": [container(privileged=True)]}}) == []
    )


async def label(client: Client, **modes: str) -> None:
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode, level in modes.items()}
    await client.patch(NAMESPACES, "default", {"metadata": {"labels": labels}})


async def test_the_enforced_level_refuses(client: Client, default_account: None, make_pod: MAKE) -> None:
    await label(client, enforce="baseline")
    with pytest.raises(
        Forbidden, match=r'pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
    ):
        await client.create(PODS, make_pod(hostPID=True))
    await client.create(PODS, make_pod())


async def test_the_warned_level_warns(client: Client, default_account: None, make_pod: MAKE) -> None:
    await label(client, warn="restricted")
    response = await client.raw("POST", PODS.path("default"), body=codec.encode_json(make_pod()))
    assert response.status == 201
    assert 'would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation' in response.header(
        "warning"
    )


async def test_an_unknown_level_is_invalid(client: Client) -> None:
    with pytest.raises(Invalid, match=r"Unsupported value: \"strict\""):
        await label(client, enforce="strict")
