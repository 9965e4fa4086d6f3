"""With the built-in kinds' schemas, ownership looks as clusters show it."""

from __future__ import annotations

import copy

from sublet.kinds import schemas
from sublet.machinery import managedfields
from sublet.machinery.apply import apply

META = {"name": "x", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
CONTAINER = {
    "name": "nginx",
    "image": "nginx",
    "imagePullPolicy": "Always",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
POD_SPEC = {
    "containers": [CONTAINER],
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": META | {"labels": {"app": "web"}, "generation": 1},
    "spec": {
        "replicas": 1,
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": POD_SPEC},
    },
}
LEAF: dict = {}
CONTAINER_FIELDS = {".": LEAF, **{f"f:{name}": LEAF for name in CONTAINER}}


def created(obj, group, version):
    new = copy.deepcopy(obj)
    schema = schemas.definition("1.36", group, version, obj["kind"])
    managedfields.update(None, new, manager="m", api_version=obj["apiVersion"], now=0.0, schema=schema)
    return new


def fields(obj, group, version):
    return created(obj, group, version)["metadata"]["managedFields"][0]["fieldsV1"]


def test_a_deployment():
    assert fields(DEPLOYMENT, "apps", "v1") == {
        "f:metadata": {"f:labels": {".": LEAF, "f:app": LEAF}},
        "f:spec": {
            "f:replicas": LEAF,
            "f:progressDeadlineSeconds": LEAF,
            "f:revisionHistoryLimit": LEAF,
            "f:selector": LEAF,
            "f:strategy": {
                "f:type": LEAF,
                "f:rollingUpdate": {".": LEAF, "f:maxSurge": LEAF, "f:maxUnavailable": LEAF},
            },
            "f:template": {
                "f:metadata": {"f:labels": {".": LEAF, "f:app": LEAF}},
                "f:spec": {
                    "f:containers": {'k:{"name":"nginx"}': CONTAINER_FIELDS},
                    **{f"f:{name}": LEAF for name in POD_SPEC if name != "containers"},
                },
            },
        },
    }


def test_a_service():
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": META,
        "spec": {
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"app": "web"},
            "type": "ClusterIP",
        },
    }
    assert fields(service, "", "v1") == {
        "f:spec": {
            "f:ports": {
                ".": LEAF,
                'k:{"port":80,"protocol":"TCP"}': {
                    ".": LEAF,
                    "f:port": LEAF,
                    "f:protocol": LEAF,
                    "f:targetPort": LEAF,
                },
            },
            "f:selector": LEAF,
            "f:type": LEAF,
        }
    }


def test_a_controllers_pod():
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": True}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": META | {"generateName": "r-", "ownerReferences": [owner]},
        "spec": POD_SPEC,
    }
    assert fields(pod, "", "v1")["f:metadata"] == {
        "f:generateName": LEAF,
        "f:ownerReferences": {".": LEAF, 'k:{"uid":"o"}': LEAF},
    }


def test_a_revisions_data_is_one_field():
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": META,
        "data": {"spec": {"a": 1}},
        "revision": 1,
    }
    assert fields(revision, "apps", "v1") == {"f:data": LEAF, "f:revision": LEAF}


def test_a_controllers_status():
    live = created(DEPLOYMENT, "apps", "v1")
    new = copy.deepcopy(live)
    new["status"] = {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}
    managedfields.update(
        live,
        new,
        manager="kcm",
        api_version="apps/v1",
        subresource="status",
        now=9.0,
        schema=schemas.definition("1.36", "apps", "v1", "Deployment"),
    )
    assert new["metadata"]["managedFields"][1]["fieldsV1"] == {
        "f:status": {
            "f:replicas": LEAF,
            "f:conditions": {
                ".": LEAF,
                'k:{"type":"Available"}': {".": LEAF, "f:type": LEAF, "f:status": LEAF},
            },
        }
    }


def test_an_applied_deployment_is_scaled_by_another_and_then_left_alone():
    """The documented way to hand replicas over to an autoscaler."""
    schema = schemas.definition("1.36", "apps", "v1", "Deployment")
    config = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": copy.deepcopy(DEPLOYMENT["spec"]),
    }
    known = {"manager": "kubectl", "api_version": "apps/v1", "schema": schema}
    live = apply(None, config, force=False, now=0.0, **known)
    live["metadata"]["uid"] = "u"
    scaled = copy.deepcopy(live)
    scaled["spec"]["replicas"] = 5
    managedfields.update(
        live, scaled, manager="hpa", api_version="apps/v1", subresource="scale", now=1.0, schema=schema
    )
    del config["spec"]["replicas"]
    after = apply(scaled, config, force=False, now=2.0, **known)
    assert after["spec"]["replicas"] == 5
    scale = next(e for e in after["metadata"]["managedFields"] if e["manager"] == "hpa")
    assert scale["subresource"] == "scale" and scale["fieldsV1"] == {"f:spec": {"f:replicas": LEAF}}
