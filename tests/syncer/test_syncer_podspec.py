"""The spec of a pod's host copy, rule by rule (reference 2.4)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sublet.syncer import catalog
from sublet.syncer.mapping import Mapping
from sublet.syncer.to_host.pods import environment, identity, scheduling
from sublet.syncer.to_host.pods.spec import Surroundings, host_spec

ACME = Mapping("acme", "sublet-acme")


def surroundings(**more: Any) -> Surroundings:
    base: dict[str, Any] = {
        "mapping": ACME, "service_account": "sublet-workload-acme", "cluster_domain": "cluster.local",
        "api_address": "10.0.0.1", "dns_address": "10.0.0.10",
    }  # fmt: skip
    return Surroundings(**{**base, **more})


def made(spec: Any, name: str = "web", **more: Any) -> Any:
    pod = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
    }
    before = copy.deepcopy(pod)
    found = host_spec(pod, surroundings(**more))
    assert pod == before, "the tenant's pod is shared and must not change"
    return found


def test_it_runs_as_the_workload_account_without_the_hosts_token() -> None:
    spec = made({"serviceAccountName": "admin", "serviceAccount": "admin"})
    assert spec["serviceAccountName"] == "sublet-workload-acme"
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccount" not in spec


def test_the_host_decides_priority_and_the_tenant_its_name() -> None:
    spec = made(
        {"priority": 5, "priorityClassName": "high", "preemptionPolicy": "Never", "subdomain": "db"}, "a.b"
    )
    assert not {"priority", "priorityClassName", "preemptionPolicy", "subdomain"} & spec.keys()
    assert spec["hostname"] == "a-b"
    assert len(made({}, "a" * 100)["hostname"]) == 63


def test_the_tenants_dns_is_asked() -> None:
    config = made({"dnsConfig": {"searches": ["example.org"], "nameservers": ["1.1.1.1"]}})["dnsConfig"]
    assert config["nameservers"] == ["10.0.0.10", "1.1.1.1"]
    assert config["searches"] == [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
        "example.org",
    ]
    assert {"name": "ndots", "value": "5"} in config["options"]


@pytest.mark.parametrize("policy", [{"dnsPolicy": "Default"}, {"dnsPolicy": "None"}, {"hostNetwork": True}])
def test_other_dns_policies_stay(policy: Any) -> None:
    assert made(policy).get("dnsPolicy") == policy.get("dnsPolicy")


def test_names_of_configuration_are_translated_everywhere() -> None:
    container = {
        "name": "main",
        "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    volumes = [
        {"name": "v1", "configMap": {"name": "c"}},
        {"name": "v2", "secret": {"secretName": "s"}},
        {"name": "v3", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}},
        {"name": "v4", "persistentVolumeClaim": {"claimName": "p"}},
        {"name": "v5", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        {"name": "v6", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}},
        {
            "name": "v7",
            "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]},
        },
        {"name": "v8", "emptyDir": {}},
    ]
    spec = made({"containers": [container], "volumes": volumes, "imagePullSecrets": [{"name": "s"}]})
    c, s = "c-x-shop-x-acme", "s-x-shop-x-acme"
    main = spec["containers"][0]
    assert [main["envFrom"][0]["configMapRef"]["name"], main["envFrom"][1]["secretRef"]["name"]] == [c, s]
    env = {each["name"]: each for each in main["env"]}
    assert env["A"]["valueFrom"]["configMapKeyRef"]["name"] == c
    assert env["B"]["valueFrom"]["secretKeyRef"]["name"] == s
    assert env["C"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.annotations['sublet.dev/name']"
    found = {each["name"]: each for each in spec["volumes"]}
    assert found["v1"]["configMap"]["name"] == c
    assert found["v2"]["secret"]["secretName"] == s
    assert list(found["v3"]["projected"]["sources"]) == [
        {"configMap": {"name": c}}, {"secret": {"name": s}},
    ]  # fmt: skip
    assert found["v4"]["persistentVolumeClaim"]["claimName"] == "p-x-shop-x-acme"
    assert found["v5"] == {"name": "v5", "persistentVolumeClaim": {"claimName": "web-v5-x-shop-x-acme"}}
    assert found["v6"]["csi"]["nodePublishSecretRef"]["name"] == s
    path = found["v7"]["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['sublet.dev/labels']"
    assert spec["imagePullSecrets"] == [{"name": s}]


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("metadata.uid", "metadata.annotations['sublet.dev/uid']"),
        ("spec.serviceAccountName", "metadata.annotations['sublet.dev/service-account-name']"),
        ("metadata.labels['app']", "metadata.labels['app']"),
        ("metadata.labels['release']", f"metadata.labels['{ACME.label_key('release')}']"),
        ("metadata.annotations['a']", "metadata.annotations['a']"),
        ("status.podIP", "status.podIP"),
        ("spec.nodeName", "spec.nodeName"),
    ],
)
def test_the_downward_api_reads_the_tenants_identity(path: str, there: str) -> None:
    assert identity.field_path(path, ACME) == there


def test_affinity_is_among_this_tenants_pods() -> None:
    marker, where = "sublet.dev/managed-by", "sublet.dev/namespace"
    select = {"matchLabels": {"app": "web"}}
    terms = [
        {"labelSelector": select, "topologyKey": "zone"},
        {"labelSelector": select, "topologyKey": "zone", "namespaces": ["a", "b"]},
        {"labelSelector": select, "topologyKey": "zone", "namespaceSelector": {}},
        {"labelSelector": select, "topologyKey": "zone", "namespaceSelector": {"matchLabels": {"team": "x"}}},
    ]
    spec = made({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    own, several, everywhere, selected = spec["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert own["labelSelector"]["matchLabels"] == {"app": "web", marker: "acme", where: "shop"}
    assert several["labelSelector"]["matchExpressions"] == [
        {"key": where, "operator": "In", "values": ["a", "b"]}
    ]
    assert everywhere["labelSelector"] == {"matchLabels": {"app": "web", marker: "acme"}}
    key = ACME.namespace_label_key("team")
    assert selected["labelSelector"]["matchExpressions"] == [{"key": key, "operator": "In", "values": ["x"]}]
    assert not any("namespaces" in term or "namespaceSelector" in term for term in (own, several, everywhere))


def test_spreading_is_among_the_pods_of_the_namespace() -> None:
    spec: Any = {"topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"app": "web"}}}]}
    scheduling.translate(spec, "shop", ACME)
    labels = spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert labels == {"app": "web", "sublet.dev/managed-by": "acme", "sublet.dev/namespace": "shop"}


def test_label_keys_that_the_tenants_server_has_merged_go() -> None:
    merged = [{"key": "rev", "operator": "In", "values": ["1"]}]
    term: Any = {
        "labelSelector": {"matchExpressions": merged},
        "topologyKey": "zone",
        "matchLabelKeys": ["rev", "other"],
        "mismatchLabelKeys": ["rev"],
    }
    spec: Any = {
        "affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [copy.deepcopy(term)]}
        },
        "topologySpreadConstraints": [{**copy.deepcopy(term), "mismatchLabelKeys": None}],
    }
    scheduling.translate(spec, "shop", ACME)
    for found in (
        spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0],
        spec["topologySpreadConstraints"][0],
    ):
        assert found["matchLabelKeys"] == [ACME.label_key("other")]
        assert not found.get("mismatchLabelKeys")


def test_the_containers_own_variables_count_more_and_come_last() -> None:
    container: Any = {"env": [{"name": "KUBERNETES_PORT", "value": "mine"}, {"name": "Z", "value": "$(A)"}]}
    environment.prepend(container, {"KUBERNETES_PORT": "theirs", "B": "2", "A": "1"})
    assert [each["name"] for each in container["env"]] == ["A", "B", "KUBERNETES_PORT", "Z"]
    assert container["env"][2]["value"] == "mine"


def test_service_links_can_be_declined() -> None:
    service = {
        "metadata": {"name": "my-db"},
        "spec": {"clusterIP": "10.0.0.5", "ports": [{"name": "sql", "port": 5}]},
    }
    names = {each["name"] for each in made({}, services=(service,))["containers"][0]["env"]}
    assert {"MY_DB_SERVICE_HOST", "MY_DB_PORT_5_TCP_ADDR", "MY_DB_SERVICE_PORT_SQL"} <= names
    declined = made({"enableServiceLinks": False}, services=(service,))["containers"][0]["env"]
    assert not [each for each in declined if each["name"].startswith("MY_DB")]
    assert {"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1"} in declined


def test_images_and_tolerations_are_the_hosts_choice() -> None:
    toleration = {"key": "tenants", "operator": "Exists"}
    spec = made({}, images={"busybox": "registry.local/busybox"}, tolerations=(toleration,))
    assert spec["containers"][0]["image"] == "registry.local/busybox"
    assert spec["tolerations"] == [toleration]


# -- what derives from the declarations --


def test_a_default_tenant_needs_nothing_outside_its_namespace() -> None:
    chosen = catalog.settings({})
    assert catalog.cluster_rules(chosen) == []
    granted = {
        (g, r) for rule in catalog.host_rules(chosen) for g in rule["apiGroups"] for r in rule["resources"]
    }
    assert ("", "pods") in granted and ("", "pods/exec") in granted
    assert not {("", "nodes"), ("", "persistentvolumes"), ("", "namespaces")} & granted


def test_real_nodes_cost_a_cluster_wide_right() -> None:
    chosen = catalog.settings({"fromHost": {"nodes": {"enabled": True}}})
    assert catalog.cluster_rules(chosen) == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"toHots": {}}, "sync.toHots: did you mean sync.toHost"),
        ({"toHost": {"configmaps": {}}}, "sync.toHost.configmaps: did you mean sync.toHost.configMaps"),
        (
            {"toHost": {"pods": {"enable": True}}},
            "sync.toHost.pods.enable: did you mean sync.toHost.pods.enabled",
        ),
        ({"toHost": {"pods": {"enabled": "yes"}}}, "sync.toHost.pods.enabled must be true or false"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_one(document: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        catalog.settings(document)


def test_everything_that_may_be_on_the_host_is_known_for_removal() -> None:
    found = {kind.qualified for kind in catalog.host_resources()}
    assert {"pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "endpoints"} <= found
    assert catalog.MARKER_LABEL == "sublet.dev/managed-by"
