"""The AdmissionConfiguration file: what it may say, how it is refused, and what plug-ins make of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from apiserver_webhook_server import WebhookServer, webhooks

from sublet.apiserver.admission.configuration import AdmissionConfiguration, load
from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import Forbidden, StatusError, TooManyRequests
from sublet.store.interface import Store

__all__ = ["webhooks"]
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
        ("- name: Limiter\n  configuration: {}\n", "there is no admission plug-in 'Limiter'"),
        ("- name: PodSecurity\n  configuration: []\n", "the configuration of PodSecurity must be a mapping"),
        ("- name: PodSecurity\n  path: gone.yaml\n", "gone.yaml: no such file or directory"),
        ("- name: PodSecurity\n  configuration: {default: {}}\n", "did you mean"),
        ("- name: PodSecurity\n  configuration: {defaults: {enforce: strict}}\n", "enforce"),
        ("- name: PodSecurity\n  configuration: {defaults: {warn-version: '1.2'}}\n", 'must be "latest" or "v1.x"'),
        ("- name: PodSecurity\n  configuration: {exemptions: {namespaces: [a, A_, a]}}\n",
         'exemptions.namespaces[1]: Invalid value: "A_": a lowercase RFC 1123 label must consist of'),
        ("- name: PodSecurity\n  configuration: {exemptions: {namespaces: [a, a]}}\n",
         'plugins[0]: exemptions.namespaces[1]: Duplicate value: "a"'),
        ("- name: PodSecurity\n  configuration: {exemptions: {usernames: [''], runtimeClasses: [A]}}\n",
         'exemptions.usernames[0]: Invalid value: "": username must not be empty]'),
        ("- name: PodSecurity\n  configuration: {apiVersion: pod-security.admission.config.k8s.io/v2}\n",
         'no kind "" is registered for version "pod-security.admission.config.k8s.io/v2"'),
        ("- name: ValidatingAdmissionWebhook\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmission}\n",
         'no kind "WebhookAdmission" is registered for version "apiserver.config.k8s.io/v1"'),
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


async def test_a_selector_that_is_none_fails_the_pod(store: Store, tmp_path: Path, make_pod: MAKE) -> None:
    text = SELECTORS.replace('"pool=any,disk=ssd"', '"pool"')
    async with server(store, written(tmp_path, text), "PodNodeSelector") as made:
        with pytest.raises(StatusError) as refused:
            await client_of(made).create(PODS, make_pod())
        assert (refused.value.code, refused.value.message) == (500, "invalid selector: [pool]")


TOLERATIONS = """
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: team, operator: Equal, value: a, effect: NoSchedule}]
    whitelist: [{key: team, operator: Exists}, {key: node.kubernetes.io/not-ready, operator: Exists},
                {key: node.kubernetes.io/unreachable, operator: Exists}]
"""


async def test_tolerations_of_the_cluster_hold_where_a_namespace_has_none(
    store: Store, tmp_path: Path, make_pod: MAKE
) -> None:
    async with server(store, written(tmp_path, TOLERATIONS), "PodTolerationRestriction") as made:
        client = client_of(made)
        fine = await client.create(PODS, make_pod("fine"))
        default = {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
        assert fine["spec"]["tolerations"][0] == default
        with pytest.raises(StatusError, match="conflict with its cluster whitelist"):
            await client.create(PODS, make_pod(tolerations=[{"key": "other", "operator": "Exists"}]))
        notes = {"scheduler.alpha.kubernetes.io/tolerationsWhitelist": ""}
        await client.patch(NAMESPACES, "default", {"metadata": {"annotations": notes}})
        await client.create(PODS, make_pod(tolerations=[{"key": "other", "operator": "Exists"}]))


# -- ImagePolicyWebhook --

IMAGES = """
- name: ImagePolicyWebhook
  configuration: {{imagePolicy: {{kubeConfigFile: {file}, allowTTL: 50, denyTTL: -1, retryBackoff: 10, defaultAllow: {open}}}}}
"""


@pytest.fixture
def images(webhooks: WebhookServer, tmp_path: Path) -> Callable[..., AdmissionConfiguration]:
    """A configuration that leads to ``/images`` of the webhook server."""

    def made(*, fails_open: bool = False) -> AdmissionConfiguration:
        cluster = {
            "server": f"https://localhost:{webhooks.port}/images",
            "certificate-authority-data": webhooks.ca_bundle,
        }
        document = {
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
        }  # fmt: skip
        (tmp_path / "images.kubeconfig").write_text(json.dumps(document))
        return written(tmp_path, IMAGES.format(file="images.kubeconfig", open=str(fails_open).lower()))

    return made


def says(**status: Any) -> Callable[[Any], web.Response]:
    return lambda review: web.json_response({**review, "status": status})


async def test_a_webhook_says_which_images_run(
    store: Store, webhooks: WebhookServer, images: MAKE, make_pod: MAKE
) -> None:
    async with server(store, images(), "ImagePolicyWebhook") as made:
        client = client_of(made)
        webhooks.on("/images", says(allowed=True))
        pod = make_pod(initContainers=[{"name": "first", "image": "setup"}])
        pod["metadata"]["annotations"] = {"mine.image-policy.k8s.io/ticket": "7", "other": "x"}
        await client.create(PODS, pod)
        _, review = webhooks.asked[0]
        assert (review["apiVersion"], review["kind"]) == ("imagepolicy.k8s.io/v1alpha1", "ImageReview")
        assert review["spec"] == {
            "containers": [{"image": "busybox"}, {"image": "setup"}], "namespace": "default",
            "annotations": {"mine.image-policy.k8s.io/ticket": "7"},
        }  # fmt: skip
        await client.create(PODS, {**pod, "metadata": {**pod["metadata"], "name": "same"}})
        assert len(webhooks.asked) == 1
        debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "tools"}]}}
        await client.patch(PODS, "web", debug, "default", kind="strategic", subresource="ephemeralcontainers")
        assert webhooks.asked[1][1]["spec"]["containers"] == [{"image": "tools"}]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"allowed": False, "reason": "unsigned"}, "image policy webhook backend denied one or more images: unsigned"),
        ({"allowed": False}, "one or more images rejected by webhook backend"),
    ],
)  # fmt: skip
async def test_refused_images_keep_a_pod_out_and_the_answer_is_not_kept(
    store: Store, webhooks: WebhookServer, images: MAKE, make_pod: MAKE, status: Any, why: str
) -> None:
    async with server(store, images(), "ImagePolicyWebhook") as made:
        webhooks.on("/images", says(**status))
        for _ in range(2):
            with pytest.raises(Forbidden) as refused:
                await client_of(made).create(PODS, make_pod())
        assert refused.value.message == f'pods "web" is forbidden: {why}'
        assert len(webhooks.asked) == 2


@pytest.mark.parametrize("fails_open", [True, False])
async def test_without_an_answer_the_configuration_decides(
    store: Store, webhooks: WebhookServer, images: MAKE, make_pod: MAKE, fails_open: bool
) -> None:
    async with server(store, images(fails_open=fails_open), "ImagePolicyWebhook") as made:
        webhooks.on("/images", lambda _review: web.Response(status=404))
        if fails_open:
            await client_of(made).create(PODS, make_pod())
            return
        with pytest.raises(Forbidden, match='pods "web" is forbidden: '):
            await client_of(made).create(PODS, make_pod())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("allowTTL", 1, "valid value is between 1s and 30m0s, got 1s"),
        ("denyTTL", 1801, "valid value is between 1s and 30m0s, got 30m1s"),
        ("retryBackoff", 300_001, "valid value is between 1ns and 5m0s, got 5m0.001s"),
        ("allowTTL", -2, "valid value is between 1s and 30m0s, got -2s"),
    ],
)
def test_times_of_the_image_policy_have_bounds(tmp_path: Path, key: str, value: int, message: str) -> None:
    text = f"- name: ImagePolicyWebhook\n  configuration: {{imagePolicy: {{kubeConfigFile: x, {key}: {value}}}}}\n"
    with pytest.raises(ConfigurationError) as refused:
        written(tmp_path, text)
    assert str(refused.value) == message


def test_an_old_file_states_one_plugins_configuration_without_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("podNodeSelectorPluginConfig: {default: pool=any}\n")
    assert load(tmp_path / "a.yaml").pod_node_selector == {"default": "pool=any"}
    (tmp_path / "b.yaml").write_text("imagePolicy: {kubeConfigFile: x.kubeconfig}\n")
    policy = load(tmp_path / "b.yaml").image_policy
    assert policy is not None
    assert (policy.kube_config_file, policy.allow_ttl, policy.deny_ttl) == (
        str(tmp_path / "x.kubeconfig"),
        300,
        30,
    )


# -- ResourceQuota --

LIMITED = """
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - {resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [vip, vital]}]}
    - {resource: persistentvolumeclaims, matchContains: [.storageclass.storage.k8s.io/requests.storage]}
"""
CLAIMS, QUOTAS = resource("persistentvolumeclaims"), resource("resourcequotas")


async def test_what_is_limited_by_default_needs_a_quota_that_covers_it(store: Store, tmp_path: Path) -> None:
    def claim(name: str, **spec: Any) -> Object:
        resources = {"requests": {"storage": "1Gi"}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}
        return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}

    async with server(store, written(tmp_path, LIMITED)) as made:
        client = client_of(made)
        await client.create(CLAIMS, claim("plain"))
        with pytest.raises(Forbidden) as refused:
            await client.create(CLAIMS, claim("gold", storageClassName="gold"))
        assert refused.value.message == (
            'persistentvolumeclaims "gold" is forbidden: insufficient quota to consume: '
            "gold.storageclass.storage.k8s.io/requests.storage"
        )
        hard = {"gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}
        await client.create(
            QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
        )
        await client.create(CLAIMS, claim("gold", storageClassName="gold"))


async def test_a_limited_scope_needs_a_quota_of_that_scope(
    store: Store, tmp_path: Path, make_pod: MAKE
) -> None:
    async with server(store, written(tmp_path, LIMITED)) as made:
        client = client_of(made)
        for name in ("vip", "usual"):
            made_class = {"metadata": {"name": name}, "value": 1000}
            await client.create(resource("priorityclasses.scheduling.k8s.io"), made_class)
        await client.create(PODS, make_pod("usual", priorityClassName="usual"))
        with pytest.raises(StatusError) as refused:
            await client.create(PODS, make_pod(priorityClassName="vip"))
        assert (refused.value.code, refused.value.message) == (
            500, "insufficient quota to match these scopes: [{PriorityClass In [vip vital]}]",
        )  # fmt: skip
        expression = {"scopeName": "PriorityClass", "operator": "In", "values": ["vip"]}
        spec = {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}}
        await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": spec})
        await client.create(PODS, make_pod(priorityClassName="vip"))


def test_a_limited_resource_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"limitedResources\[0\].resource: Required value"):
        written(tmp_path, "- name: ResourceQuota\n  configuration: {limitedResources: [{apiGroup: x}]}\n")
