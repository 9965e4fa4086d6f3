"""A tour with kubectl through what it prints: many commands on one control plane, as upstream's command tests do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import wait_for
from sublet.testing import RunningControlPlane

Kubectl = Callable[..., str]

APPLIED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: first, labels: {set: tour}}
data: {a: b}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: second, labels: {set: tour}}
spec:
  selector: {matchLabels: {app: second}}
  template:
    metadata: {labels: {app: second}}
    spec:
      containers:
      - {name: c, image: busybox, ports: [{containerPort: 80}, {containerPort: 81, name: x}]}
"""
OLD_DESCRIBERS = {"ipaddresses.networking.k8s.io", "servicecidrs.networking.k8s.io"}
"""Kinds whose describer in kubectl 1.32 asks for a beta version, which Kubernetes 1.36 does not serve."""
FIRST = APPLIED.split("---")[0]


@pytest.fixture(scope="module")
def tour(kubectl: Kubectl) -> Kubectl:
    """kubectl in a namespace with one Deployment of two pods, web."""
    kubectl("create", "namespace", "tour")

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
        return kubectl("-n", "tour", *arguments, stdin=stdin, env=env)

    run("create", "deployment", "web", "--image=busybox:1", "--replicas=2", "--port=80")
    run("rollout", "status", "deployment/web", "--timeout=30s")
    return run


def failing(tour: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    with pytest.raises(Exception, match="exit code") as caught:
        tour(*arguments, stdin=stdin)
    return str(caught.value)


def test_every_generator_makes_what_it_says(tour: Kubectl) -> None:
    for arguments, said in (
        ("service clusterip web --tcp=80:8080", "service/web"),
        ("service nodeport np --tcp=80", "service/np"),
        ("service loadbalancer lb --tcp=5678:8080", "service/lb"),
        ("service externalname en --external-name=bar.com", "service/en"),
        ("cronjob cj --image=busybox --schedule=@daily", "cronjob.batch/cj"),
        ("job j --from=cronjob/cj", "job.batch/j"),
        ("secret generic s --from-literal=a=b", "secret/s"),
        ("secret docker-registry dr --docker-username=u --docker-password=p", "secret/dr"),
        ("serviceaccount sa", "serviceaccount/sa"),
        ("role r --verb=get,list --resource=pods,deployments.apps", "role.rbac.authorization.k8s.io/r"),
        ("rolebinding rb --role=r --serviceaccount=tour:sa", "rolebinding.rbac.authorization.k8s.io/rb"),
        ("clusterrole tour-agg --aggregation-rule=a=b", "clusterrole.rbac.authorization.k8s.io/tour-agg"),
        ("quota q --hard=pods=20 --scopes=BestEffort", "resourcequota/q"),
        ("pdb pdb --selector=app=web --min-available=1", "poddisruptionbudget.policy/pdb"),
        ("priorityclass tour --value=100", "priorityclass.scheduling.k8s.io/tour"),
        ("ingress ing --rule=foo.com/bar=web:80,tls=s --class=c", "ingress.networking.k8s.io/ing"),
    ):
        assert tour("create", *arguments.split()).strip() == f"{said} created"
    assert tour("create", "token", "sa", "--duration=20m").count(".") == 2
    services = {line.split()[0]: line.split() for line in tour("get", "services").splitlines()[1:]}
    assert services["en"][1:5] == ["ExternalName", "<none>", "bar.com", "<none>"]
    assert services["lb"][3] == "<pending>" and services["lb"][4].startswith("5678:3")
    assert tour("get", "ing", "--no-headers").split()[:4] == ["ing", "c", "foo.com", "80,"]
    assert tour("get", "rolebinding", "rb", "-o", "wide", "--no-headers").split()[::3] == ["rb", "tour/sa"]


def test_get_prints_in_every_form(tour: Kubectl) -> None:
    columns = "N:.metadata.name,S:.status.phase,I:.spec.containers[*].image"
    lines = tour("get", "pods", "-l", "app=web", "-o", f"custom-columns={columns}").splitlines()
    assert lines[0].split() == ["N", "S", "I"] and lines[1].split()[1:] == ["Running", "busybox:1"]
    path = '{range .items[*]}{.status.phase}{"\\n"}{end}'
    assert tour("get", "pods", "-l", "app=web", "-o", f"jsonpath={path}") == "Running\nRunning\n"
    template = "go-template={{range .items}}{{.kind}}/{{.spec.replicas}} {{end}}"
    assert tour("get", "deployments", "-o", template) == "Deployment/2 "
    names = tour("get", "pods", "--chunk-size=1", "--sort-by=.status.podIP", "-o", "name").split()
    assert set(names) == set(tour("get", "pods", "-o", "name").split())
    shown = tour("get", "deployment", "web", "-o", "wide", "--show-labels").split()
    assert shown[-4:] == ["busybox", "busybox:1", "app=web", "app=web"]
    watched = tour("get", "pods", "-l", "app=web", "--watch", "--output-watch-events", "--request-timeout=1s")
    assert watched.count("ADDED") == 2
    assert "MESSAGE" in tour("get", "componentstatuses")
    kinds = tour("get", "all", "-o", "name")
    assert "deployment.apps/web" in kinds and "replicaset.apps/web-" in kinds


def test_what_cannot_be_had_is_refused_in_the_usual_words(tour: Kubectl) -> None:
    assert 'field selector "foo=bar": field label not supported: foo' in failing(
        tour, "get", "pods", "--field-selector=foo=bar"
    )
    assert "found '=', expected: ',' or 'end of string'" in failing(tour, "get", "pods", "-l", "a=b=c")
    assert 'error: the server doesn\'t have a resource type "nosuch"' in failing(tour, "get", "nosuch")
    assert '(NotFound): pods "nosuch" not found' in failing(tour, "get", "pods", "nosuch")
    assert "could not find the requested resource" in failing(tour, "get", "--raw", "/nosuch")
    for patch, said in (
        ('{"spec":{"replicas":"x"}}', 'patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32'),
        ('{"spec":{"selector":{"matchLabels":{"x":"y"}}}}', "field is immutable"),
        ('{"metadata":{"name":"x"}}', "the name of the object (x) does not match the name on the URL (web)"),
        ('{"metadata":{"resourceVersion":"1"}}', "the object has been modified"),
    ):  # fmt: skip
        assert said in failing(tour, "patch", "deployment", "web", "-p", patch)
    assert "already exists" in failing(tour, "create", "deployment", "web", "--image=x", "--dry-run=server")
    assert "Expected replicas to be 9, was 2" in failing(
        tour, "scale", "deployment/web", "--replicas=3", "--current-replicas=9"
    )
    assert "timed out waiting for the condition on deployments/web" in failing(
        tour, "wait", "--for=condition=Nosuch", "deployment/web", "--timeout=1s"
    )


def test_apply_prunes_by_label_and_by_set_and_replace_makes_anew(tour: Kubectl) -> None:
    tour("apply", "-f", "-", stdin=APPLIED)
    assert (
        tour("apply", "-f", "-", stdin=APPLIED)
        == "configmap/first unchanged\ndeployment.apps/second unchanged\n"
    )
    assert "deployment.apps/second pruned" in tour(
        "apply", "-f", "-", "--prune", "-l", "set=tour", stdin=FIRST
    )
    env = {"KUBECTL_APPLYSET": "true"}
    tour("apply", "-f", "-", "--prune", "--applyset=parent", stdin=APPLIED, env=env)
    said = tour("apply", "-f", "-", "--prune", "--applyset=parent", stdin=FIRST, env=env)
    assert said == "configmap/first unchanged\ndeployment.apps/second pruned\n"
    before = tour("get", "configmap", "first", "-o", "jsonpath={.metadata.uid}")
    assert "configmap/first replaced" in tour("replace", "--force", "-f", "-", stdin=FIRST)
    assert tour("get", "configmap", "first", "-o", "jsonpath={.metadata.uid}") != before


def test_a_rollout_is_set_paused_resumed_and_undone(tour: Kubectl) -> None:
    tour("create", "deployment", "roll", "--image=busybox:1")
    for arguments, said in (
        (("set", "image", "deployment/roll", "busybox=busybox:2"), "image updated"),
        (("set", "env", "deployment/roll", "A=B"), "env updated"),
        (("set", "resources", "deployment/roll", "--limits=cpu=100m", "--requests=cpu=50m"), "requirements updated"),
        (("rollout", "pause", "deployment/roll"), "paused"),
        (("rollout", "resume", "deployment/roll"), "resumed"),
        (("rollout", "restart", "deployment/roll"), "restarted"),
        (("rollout", "undo", "deployment/roll", "--to-revision=1"), "rolled back"),
    ):  # fmt: skip
        assert said in tour(*arguments)
        tour("wait", "--for=jsonpath={.status.observedGeneration}", "deployment/roll", "--timeout=20s")
        if "pause" not in arguments:
            tour("rollout", "status", "deployment/roll", "--timeout=30s")
    assert "must be less than or equal to cpu limit of 10m" in failing(
        tour, "set", "resources", "deployment/web", "--limits=cpu=10m", "--requests=cpu=50m"
    )
    assert tour("rollout", "history", "deployment/roll").splitlines()[1:3] == [
        "REVISION  CHANGE-CAUSE",
        "2         <none>",
    ]
    assert "unable to find specified revision 99" in failing(
        tour, "rollout", "undo", "deployment/roll", "--to-revision=99"
    )


def test_a_node_is_tainted_cordoned_and_drained(tour: Kubectl) -> None:
    assert "tainted" in tour("taint", "node", "hollow-1", "k=v:NoSchedule")
    assert "already has k taint(s)" in failing(tour, "taint", "node", "hollow-1", "k=v:NoSchedule")
    assert "untainted" in tour("taint", "node", "hollow-1", "k-")
    said = tour("drain", "hollow-1", "--force", "--ignore-daemonsets", "--timeout=30s")
    assert "node/hollow-1 drained" in said
    assert "Ready,SchedulingDisabled" in tour("get", "node", "hollow-1")
    tour("uncordon", "hollow-1")
    tour("rollout", "status", "deployment/web", "--timeout=30s")


def test_who_may_is_asked_and_reconciled(tour: Kubectl) -> None:
    assert "kubernetes-admin" in tour("auth", "whoami")
    assert "*.*" in tour("auth", "can-i", "--list").splitlines()[1]
    assert failing(tour, "auth", "can-i", "get", "pods", "--as=nobody").rstrip().endswith("no")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "reconciled", "namespace": "tour"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    }  # fmt: skip
    assert "/reconciled reconciled" in tour("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    tour("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    path = "jsonpath={.rules[*].resources}"
    assert tour("get", "role", "reconciled", "-o", path) == '["secrets"] ["pods"]'
    tour("auth", "reconcile", "-f", "-", "--remove-extra-permissions", stdin=json.dumps(role))
    assert tour("get", "role", "reconciled", "-o", path) == '["pods"]'


def test_every_kind_can_be_described(tour: Kubectl, tmp_path: Path, plane: RunningControlPlane) -> None:
    listed = tour("api-resources", "--verbs=list,get", "-o", "name").split()
    assert set(listed) >= OLD_DESCRIBERS
    for name in set(listed) - OLD_DESCRIBERS:
        tour("describe", name)
    dump = tmp_path / "dump"
    tour("cluster-info", "dump", "--namespaces=kube-system", f"--output-directory={dump}")
    assert json.loads((dump / "nodes.json").read_text())["kind"] == "NodeList"
    text = tour("describe", "deployment", "web")
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in text
    assert "Scaled up replica set web-" in text


def test_explain_reads_both_openapi_documents(tour: Kubectl) -> None:
    assert "FIELD: rollingUpdate <RollingUpdateDeployment>" in tour(
        "explain", "deploy.spec.strategy.rollingUpdate"
    )
    assert "RESOURCE: spec <Object>" in tour("explain", "cj.spec", "--output=plaintext-openapiv2")
    recursive = tour("explain", "pod.spec", "--recursive")
    assert "containers\t<[]Container> -required-" in recursive
    assert "limits\t<map[string]Quantity>" in recursive and "port\t<IntOrString> -required-" in recursive
    assert "enum: Always, Never, OnFailure" in tour("explain", "pod.spec")
    assert 'field "nosuch" does not exist' in failing(tour, "explain", "pods.spec.nosuch")


def test_who_wrote_and_who_reported_have_the_names_of_upstreams_components(tour: Kubectl) -> None:
    managers = tour(
        "get", "rs,pods", "-l", "app=web", "--show-managed-fields",
        "-o", "jsonpath={.items[*].metadata.managedFields[*].manager}",
    )  # fmt: skip
    upstreams = {"kube-controller-manager", "kubelet"}
    # The scheduler's is there where a pod had to wait for a node.
    assert upstreams <= set(managers.split()) <= upstreams | {"kube-scheduler"}
    scheduled = ("get", "events", "-o", "wide", "--field-selector=reason=Scheduled")
    wait_for(lambda: "default-scheduler, default-scheduler-" in tour(*scheduled))
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw2","namespace":"tour"},"data":{"a":"b"}}'
    made = json.loads(tour("create", "--raw", "/api/v1/namespaces/tour/configmaps", "-f", "-", stdin=body))
    assert made["metadata"]["managedFields"][0]["manager"] == "kubectl"


def test_a_refused_change_of_a_pod_shows_what_differs(tour: Kubectl) -> None:
    tour("run", "still", "--image=busybox")
    said = failing(tour, "patch", "pod", "still", "-p", '{"spec":{"hostname":"other"}}')
    assert '-  "Hostname": "other",\n+  "Hostname": "",\n' in said
    tour("delete", "pod", "still", "--now", "--wait=false")
