"""The AdmissionConfiguration file: what it may say, how it is refused, and what plug-ins make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sublet.apiserver.admission.configuration import AdmissionConfiguration, load
from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import Forbidden, TooManyRequests
from sublet.store.interface import Store

PODS, NAMESPACES, EVENTS = resource("pods"), resource("namespaces"), resource("events")
PREFIX = "pod-security.kubernetes.io/"
MAKE = Callable[..., Object]

SECURITY = """
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: v1.36, warn: restricted}
    exemptions: {namespaces: [kube-system, trusted], usernames: [ann], runtimeClasses: [strong]}
"""
LIMITS = """
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits:
    - {type: Namespace, qps: 1, burst: 2}
    - {type: User, qps: 1, burst: 100, cacheSize: 10}
"""
SELECTORS = """
- name: PodNodeSelector
  configuration:
    podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "pool=any", default: "pool=any,disk=ssd"}
"""


def written(directory: Path, *plugins: str) -> AdmissionConfiguration:
    head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
    path = directory / "admission.yaml"
    path.write_text(head + "".join(plugins))
    return load(path)


@asynccontextmanager
async def server(
    store: Store, configuration: AdmissionConfiguration, *enabled: str
) -> AsyncIterator[APIServer]:
    settings = APIServerSettings(enabled_admission=enabled, admission=configuration)
    made = APIServer(settings, store, detect_mutation=True)
    await made.start()
    try:
        client = made.client_as(User("admin", ("system:masters",)), "tester")
        account = {"metadata": {"name": "default", "namespace": "default"}}
        await client.create(resource("serviceaccounts"), account)
        yield made
    finally:
        await made.stop()


def client_of(made: APIServer, name: str = "admin") -> Client:
    return made.client_as(User(name, ("system:masters",)), "tester")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: LimitRanger\n  configuration: {}\n", "'LimitRanger' has nothing to configure here"),
        ("- name: PodSecurity\n", "PodSecurity has neither a configuration nor a path"),
        ("- name: PodSecurity\n  path: gone.yaml\n", "gone.yaml: No such file or directory"),
        ("- name: PodSecurity\n  configuration: {default: {}}\n", "did you mean"),
        ("- name: PodSecurity\n  configuration: {defaults: {enforce: strict}}\n", "enforce"),
        ("- name: PodSecurity\n  configuration: {defaults: {warn-version: '1.2'}}\n", 'must be "latest" or "v1.x"'),
        ("- name: EventRateLimit\n  configuration: {}\n", "limits: at least one is needed"),
        ("- name: EventRateLimit\n  configuration: {limits: [{type: Server, qps: 1}]}\n", "must be positive"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        written(tmp_path, text)
    assert message in str(refused.value)


def test_another_document_is_no_admission_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    with pytest.raises(ConfigurationError, match="must be an AdmissionConfiguration"):
        load(tmp_path / "a.yaml")


def test_a_plugins_configuration_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "psa.yaml").write_text("kind: PodSecurityConfiguration\ndefaults: {enforce: baseline}\n")
    found = written(tmp_path, "- name: PodSecurity\n  path: psa.yaml\n")
    assert found.pod_security.defaults.enforce == "baseline"


async def test_defaults_hold_where_labels_do_not_say(store: Store, tmp_path: Path, make_pod: MAKE) -> None:
    async with server(store, written(tmp_path, SECURITY)) as made:
        client = client_of(made)
        with pytest.raises(Forbidden, match=r'violates PodSecurity "baseline:v1\.36": host namespaces'):
            await client.create(PODS, make_pod(hostPID=True))
        response = await client.raw("POST", PODS.path("default"), body=codec.encode_json(make_pod()))
        assert response.status == 201
        assert 'would violate PodSecurity \\"restricted:latest\\"' in response.header("warning")
        labels = {f"{PREFIX}enforce": "privileged", f"{PREFIX}warn": "privileged"}
        await client.patch(NAMESPACES, "default", {"metadata": {"labels": labels}})
        await client.create(PODS, make_pod("free", hostPID=True))


async def test_users_runtime_classes_and_namespaces_are_exempt(
    store: Store, tmp_path: Path, make_pod: MAKE
) -> None:
    async with server(store, written(tmp_path, SECURITY)) as made:
        client = client_of(made)
        await client.create(
            resource("runtimeclasses.node.k8s.io"), {"metadata": {"name": "strong"}, "handler": "h"}
        )
        await client.create(PODS, make_pod("isolated", hostPID=True, runtimeClassName="strong"))
        await client_of(made, "ann").create(PODS, make_pod("anns", hostPID=True))
        labels = {f"{PREFIX}enforce": "restricted", f"{PREFIX}audit": "baseline"}
        body: Any = {"metadata": {"name": "trusted", "labels": labels}}
        response = await client.raw("POST", NAMESPACES.path(), body=codec.encode_json(body))
        assert response.status == 201
        policy = "enforce=restricted:v1.36, audit=baseline:latest"
        text = (
            f'namespace \\"trusted\\" is exempt from Pod Security, and the policy ({policy}) will be ignored'
        )
        assert text in response.header("warning")


async def test_events_beyond_a_limit_are_refused(store: Store, tmp_path: Path) -> None:
    def event(name: str, namespace: str = "default") -> Object:
        about = {"kind": "Pod", "namespace": namespace, "name": "p"}
        return {"metadata": {"name": name, "namespace": namespace}, "involvedObject": about}

    async with server(store, written(tmp_path, LIMITS), "EventRateLimit") as made:
        client = client_of(made)
        for name in ("a", "b"):
            await client.create(EVENTS, event(name))
        with pytest.raises(TooManyRequests) as refused:
            await client.create(EVENTS, event("c"))
        assert refused.value.message == "limit reached on type Namespace for key default"
        await client.create(EVENTS, event("c", "kube-system"))


async def test_node_selectors_of_the_cluster_and_of_a_namespace(
    store: Store, tmp_path: Path, make_pod: MAKE
) -> None:
    async with server(store, written(tmp_path, SELECTORS), "PodNodeSelector") as made:
        client = client_of(made)
        fine = await client.create(PODS, make_pod("fine", nodeSelector={"disk": "ssd"}))
        assert fine["spec"]["nodeSelector"] == {"pool": "any", "disk": "ssd"}
        with pytest.raises(
            Forbidden, match="pod node label selector labels conflict with its namespace whitelist"
        ):
            await client.create(PODS, make_pod(nodeSelector={"gpu": "yes"}))
