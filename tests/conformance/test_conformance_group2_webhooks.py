"""Configurations of admission webhooks, beside a webhook's Deployment that is ready."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from conformance_client import API, Object, Resource
from conformance_names import conformance
from conformance_steps import change, random_name, refused, wait_for
from conformance_workloads import AGNHOST, LONG, Workloads, container, replicated

POD_SECURITY = "baseline"
NODES = 2
SERVICE = "e2e-test-webhook"
SUITE = "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin]"
GROUP = "admissionregistration.k8s.io"
FIRST = {"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}
SECOND = {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}
BAD = {"name": "invalid-expression-1", "expression": "... [] bad expression"}


@pytest.fixture
def webhook(api: API, namespace: str) -> Iterator[str]:
    """The namespace in which the webhook's pod is ready behind its Service."""
    work, labels = Workloads(api, namespace), {"app": "sample-webhook", "webhook": "true"}
    bindings = api.typed("rbac.authorization.k8s.io/v1", "rolebindings", "kube-system")
    name = random_name("webhook-auth-reader")
    role = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "extension-apiserver-authentication-reader",
    }
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    bindings.create({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
    data = {key: base64.b64encode(b"certificate").decode() for key in ("tls.crt", "tls.key")}
    api.typed("v1", "secrets", namespace).create(
        {"metadata": {"name": "sample-webhook-secret"}, "type": "Opaque", "data": data}
    )
    mount = {"name": "webhook-certs", "readOnly": True, "mountPath": "/webhook.local.config/certificates"}
    probe = {"httpGet": {"scheme": "HTTPS", "port": 8444, "path": "/readyz"}, "periodSeconds": 1}
    served = container(
        "sample-webhook", AGNHOST, volumeMounts=[mount], readinessProbe=probe, ports=[{"containerPort": 8444}],
        args=["webhook", "--port=8444"],
    )  # fmt: skip
    manifest = replicated("sample-webhook-deployment", 1, labels, served)
    manifest["spec"]["template"]["spec"]["volumes"] = [
        {"name": "webhook-certs", "secret": {"secretName": "sample-webhook-secret"}}
    ]
    work.deployments.create(manifest)
    work.deployment_revision("sample-webhook-deployment", "1", AGNHOST)
    work.deployment_complete("sample-webhook-deployment")
    ports = [{"protocol": "TCP", "port": 8443, "targetPort": 8444}]
    work.services.create(
        {
            "metadata": {"name": SERVICE, "labels": {"test": "webhook"}},
            "spec": {"ports": ports, "selector": {"webhook": "true"}},
        }
    )
    slices = api.typed("discovery.k8s.io/v1", "endpointslices", namespace)

    def paired() -> bool:
        found = slices.items(label_selector=f"kubernetes.io/service-name={SERVICE}")
        return sum(len(s.get("endpoints") or ()) for s in found) == 1

    wait_for(paired, "the Service has its endpoint", LONG)
    yield namespace
    bindings.delete(name)


def configuration(namespace: str, name: str, *conditions: Object) -> Object:
    """One webhook that concerns nothing but this namespace's marked objects."""
    service = {"namespace": namespace, "name": SERVICE, "path": "/always-deny", "port": 8443}
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    hook = {
        "name": "deny-configmap.k8s.io", "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"], "failurePolicy": "Ignore",
        "clientConfig": {"service": service},
        "namespaceSelector": {"matchLabels": {namespace: "true"}}, "matchConditions": list(conditions),
    }  # fmt: skip
    return {"metadata": {"name": name}, "webhooks": [hook]}


def check_conditions(resource: Resource, namespace: str) -> None:
    """Created with one match condition, updated to two."""
    name = random_name(namespace)
    made = resource.create(configuration(namespace, name, FIRST))
    try:
        assert made["webhooks"][0]["matchConditions"] == [FIRST]
        assert resource.get(name)["webhooks"][0]["matchConditions"] == [FIRST]
        change(resource, name, lambda o: o["webhooks"][0]["matchConditions"].append(SECOND))
        assert resource.get(name)["webhooks"][0]["matchConditions"] == [FIRST, SECOND]
    finally:
        resource.delete(name)


@conformance(f"{SUITE} should include webhook resources in discovery documents [Conformance]")
def test_webhooks_are_discovered(api: API, webhook: str) -> None:
    [group] = [g for g in api.get_json("/apis")["groups"] if g["name"] == GROUP]
    wanted = {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    assert wanted in group["versions"]
    assert wanted in api.get_json(f"/apis/{GROUP}")["versions"]
    resources = {r["name"] for r in api.get_json(f"/apis/{GROUP}/v1")["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= resources


@conformance(
    f"{SUITE} should be able to create and update validating webhook configurations with match conditions [Conformance]"
)
def test_match_conditions_of_validating_webhooks(api: API, webhook: str) -> None:
    check_conditions(api.typed(f"{GROUP}/v1", "validatingwebhookconfigurations"), webhook)


@conformance(
    f"{SUITE} should be able to create and update mutating webhook configurations with match conditions [Conformance]"
)
def test_match_conditions_of_mutating_webhooks(api: API, webhook: str) -> None:
    check_conditions(api.typed(f"{GROUP}/v1", "mutatingwebhookconfigurations"), webhook)


@conformance(
    f"{SUITE} should reject validating webhook configurations with invalid match conditions [Conformance]"
)
def test_bad_conditions_of_validating_webhooks(api: API, webhook: str) -> None:
    with refused("Invalid", "compilation failed"):
        api.typed(f"{GROUP}/v1", "validatingwebhookconfigurations").create(
            configuration(webhook, random_name(webhook), BAD)
        )


@conformance(
    f"{SUITE} should reject mutating webhook configurations with invalid match conditions [Conformance]"
)
def test_bad_conditions_of_mutating_webhooks(api: API, webhook: str) -> None:
    with refused("Invalid", "compilation failed"):
        api.typed(f"{GROUP}/v1", "mutatingwebhookconfigurations").create(
            configuration(webhook, random_name(webhook), BAD)
        )
