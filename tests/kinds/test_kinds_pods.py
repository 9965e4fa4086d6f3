"""Pods: defaults, validation, what may change, the Status cell."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sublet.apiserver.writing import keep_all_but_status
from sublet.kinds.core.pods import KIND
from sublet.kinds.rules import pod_defaults, pod_status
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import invalid_object

NOW = 1_770_000_000.0


def pod(container: Object | None = None, **spec: Any) -> Object:
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"} | (container or {})], **spec},
    }
    KIND.default(made)
    KIND.prepare_create(made)
    return made


def errors(obj: Object) -> list[str]:
    return [str(error) for error in KIND.validate(obj)]


# -- defaults --


def test_a_bare_pod_gets_every_default() -> None:
    made = pod()
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert spec["restartPolicy"] == "Always" and spec["dnsPolicy"] == "ClusterFirst"
    assert spec["terminationGracePeriodSeconds"] == 30 and spec["schedulerName"] == "default-scheduler"
    assert spec["securityContext"] == {} and spec["enableServiceLinks"] is True
    assert container["imagePullPolicy"] == "IfNotPresent" and container["resources"] == {}
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert errors(made) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1.36", "IfNotPresent"),
        ("registry:5000/busybox", "Always"),
        ("registry:5000/busybox:v1", "IfNotPresent"),
        ("busybox@sha256:" + "a" * 64, "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pod_defaults.pull_policy(image) == policy


def test_requests_are_limits_in_pods_but_not_in_templates() -> None:
    resources = {"limits": {"cpu": "1"}}
    assert pod({"resources": copy.deepcopy(resources)})["spec"]["containers"][0]["resources"]["requests"] == {
        "cpu": "1"
    }
    spec = {"containers": [{"name": "c", "image": "x", "resources": resources}]}
    pod_defaults.pod_spec(spec, whole_pod=False)
    assert "requests" not in spec["containers"][0]["resources"]  # type: ignore[operator]
    assert "enableServiceLinks" not in spec


def test_service_account_is_mirrored_to_its_old_name() -> None:
    assert pod(serviceAccountName="x")["spec"]["serviceAccount"] == "x"
    assert pod(serviceAccount="x")["spec"]["serviceAccountName"] == "x"


def test_host_network_pods_use_the_same_port_on_the_host() -> None:
    made = pod({"ports": [{"containerPort": 80}]}, hostNetwork=True)
    assert made["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP", "hostPort": 80}
    ]


def test_probes_and_volumes_are_filled_in() -> None:
    made = pod(
        {"livenessProbe": {"httpGet": {"port": 80}}},
        volumes=[
            {"name": "a"},
            {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ],
    )
    probe = made["spec"]["containers"][0]["livenessProbe"]
    assert probe == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    empty, secret, projected = made["spec"]["volumes"]
    assert empty["emptyDir"] == {}
    assert secret["secret"]["defaultMode"] == 420
    assert projected["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600


def test_pod_level_requests_are_the_sum_of_the_containers() -> None:
    made = pod(
        {"resources": {"requests": {"cpu": "300m"}}}, resources={"limits": {"cpu": "1", "memory": "1Gi"}}
    )
    assert made["spec"]["resources"]["requests"] == {"cpu": "300m", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_quality_of_service(resources: Object, qos: str) -> None:
    assert pod({"resources": resources})["status"]["qosClass"] == qos


def test_gated_pods_say_why_they_wait() -> None:
    made = pod(schedulingGates=[{"name": "example.com/gate"}])
    assert made["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert KIND.cells is not None and KIND.cells(made, NOW)[2] == "SchedulingGated"


def test_label_keys_narrow_an_affinity_to_pods_of_the_same_values() -> None:
    term = {"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["v"], "mismatchLabelKeys": ["w", "x"]}
    made = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    made["metadata"]["labels"] = {"v": "1", "w": "2"}
    KIND.prepare_create(made)
    assert term["labelSelector"] == {
        "matchExpressions": [
            {"key": "v", "operator": "In", "values": ["1"]},
            {"key": "w", "operator": "NotIn", "values": ["2"]},
        ]
    }


def test_label_keys_narrow_a_spread_among_pods_of_the_same_values() -> None:
    spread = {
        "topologyKey": "z",
        "labelSelector": {},
        "matchLabelKeys": ["v", "x"],
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
    }
    nothing = {key: value for key, value in spread.items() if key != "labelSelector"}
    made = pod(topologySpreadConstraints=[spread, nothing])
    made["metadata"]["labels"] = {"v": "1"}
    KIND.prepare_create(made)
    assert spread["labelSelector"] == {"matchExpressions": [{"key": "v", "operator": "In", "values": ["1"]}]}
    assert "labelSelector" not in nothing


def test_a_profile_that_only_an_annotation_names_is_copied_to_its_container() -> None:
    made = pod({"name": "c"}, securityContext={"appArmorProfile": {"type": "RuntimeDefault"}})
    notes = made["metadata"].setdefault("annotations", {})
    key = "container.apparmor.security.beta.kubernetes.io/c"
    container = made["spec"]["containers"][0]
    for note, profile in (
        ("runtime/default", None),
        ("localhost/ x", None),
        ("strange", None),
        ("localhost/x", {"type": "Localhost", "localhostProfile": "x"}),
        ("unconfined", {"type": "Localhost", "localhostProfile": "x"}),
    ):
        notes[key] = note
        assert KIND.canonicalize is not None
        KIND.canonicalize(made)
        assert (container.get("securityContext") or {}).get("appArmorProfile") == profile, note


# -- validation --


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (pod() | {"spec": {}}, "spec.containers: Required value"),
        (pod({"image": ""}), "spec.containers[0].image: Required value"),
        (pod({"image": " x"}), 'spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace'),
        (pod(restartPolicy="Sometimes"), 'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), 'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        (pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]), "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
        (pod({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}), 'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        (pod({"resources": {"requests": {"example.com/gpu": "1"}}}), "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"),
        (pod({"ports": [{"containerPort": 70000}]}), "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        (pod({"env": [{"name": "A=B", "value": "x"}]}), "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='"),
        (pod({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}), 'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'),
        (pod({"livenessProbe": {}}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (pod({"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}}), "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        (pod(initContainers=[{"name": "i", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]), "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"),
        (pod(initContainers=[{"name": "c", "image": "x"}]), 'spec.initContainers[0].name: Duplicate value: "c"'),
        (pod(dnsPolicy="None"), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        (pod(tolerations=[{"operator": "Equal"}]), 'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"'),
        (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
        (pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]), "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
        (pod(securityContext={"sysctls": [{"name": "Foo", "value": "1"}]}), 'spec.securityContext.sysctls[0].name: Invalid value: "Foo": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$'),
        (pod(nodeName="n", schedulingGates=[{"name": "g"}]), "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_as_kubernetes_names_it(obj: Object, message: str) -> None:
    assert message in errors(obj)


def test_a_pod_that_uses_much_is_valid() -> None:
    made = pod(
        {
            "command": ["sh"],
            "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "P_"}],
            "ports": [{"name": "http", "containerPort": 80}],
            "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
            "startupProbe": {"grpc": {"port": 1}},
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumeMounts": [{"name": "d", "mountPath": "/d", "subPath": "x"}],
        },
        initContainers=[{"name": "s", "image": "x", "restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["x"]}}}],
        volumes=[
            {"name": "d", "persistentVolumeClaim": {"claimName": "p"}},
            {"name": "w", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ],
        tolerations=[{"operator": "Exists"}, {"key": "k", "effect": "NoExecute", "tolerationSeconds": 5}],
        affinity={
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["1"]}]}]}},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}}]},
        },
        hostAliases=[{"ip": "10.0.0.1", "hostnames": ["x"]}],
        readinessGates=[{"conditionType": "example.com/ready"}],
    )  # fmt: skip
    assert errors(made) == []


def test_several_errors_make_one_message_with_a_cause_each() -> None:
    error = invalid_object("", "Pod", "a", KIND.validate(pod({"image": "", "name": "C_"})))
    assert error.message.startswith(
        'Pod "a" is invalid: [spec.containers[0].name: Invalid value: "C_": a lower'
    )
    assert [cause.field for cause in error.causes] == ["spec.containers[0].name", "spec.containers[0].image"]


# -- updates --


def changed(old: Object, **spec: Any) -> list[str]:
    new = copy.deepcopy(old)
    new["spec"].update(spec)
    return [str(error) for error in KIND.validate_update(new, old)]


def test_image_deadline_and_further_tolerations_may_change() -> None:
    old = pod(tolerations=[{"key": "a", "operator": "Exists"}])
    containers = copy.deepcopy(old["spec"]["containers"])
    containers[0]["image"] = "other"
    assert changed(old, containers=containers, activeDeadlineSeconds=5) == []
    assert changed(old, tolerations=[*old["spec"]["tolerations"], {"key": "b", "operator": "Exists"}]) == []


def test_anything_else_is_refused_with_what_differs() -> None:
    (message,) = changed(pod(), hostname="x")
    assert message.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )
    assert (
        '\n   "ImagePullSecrets": null,\n-  "Hostname": "x",\n+  "Hostname": "",\n   "Subdomain": "",\n'
        in message
    )


def test_tolerations_cannot_be_taken_away() -> None:
    old = pod(tolerations=[{"key": "a", "operator": "Exists"}])
    assert changed(old, tolerations=[]) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]


def test_a_gated_pod_may_be_told_where_to_go_and_lose_its_gates() -> None:
    old = pod(schedulingGates=[{"name": "g"}], nodeSelector={"a": "b"})
    assert changed(old, schedulingGates=[], nodeSelector={"a": "b", "c": "d"}) == []
    assert any("only additions" in message for message in changed(old, nodeSelector={"c": "d"}))
    assert any("only deletion is allowed" in m for m in changed(old, schedulingGates=[{"name": "h"}]))


def test_status_writes_leave_the_spec_and_owners_alone() -> None:
    old = pod()
    new = copy.deepcopy(old) | {"status": {"phase": "Running"}}
    new["spec"]["hostname"] = "x"
    new["metadata"]["ownerReferences"] = [{"name": "o"}]
    keep_all_but_status(new, old, KIND)
    KIND.prepare_status(new, old)
    assert new["spec"] == old["spec"]
    assert "ownerReferences" not in new["metadata"]
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "seconds"),
    [
        ({}, "Pending", None, 0),
        ({"nodeName": "n"}, "Running", None, 30),
        ({"nodeName": "n"}, "Running", 5, 5),
        ({"nodeName": "n"}, "Running", 0, 0),
        ({"nodeName": "n"}, "Succeeded", 5, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": -1}, "Running", None, 1),
    ],
)
def test_grace_period(spec: Object, phase: str, asked: int | None, seconds: int) -> None:
    made = pod(**spec)
    made["status"]["phase"] = phase
    assert KIND.grace is not None and KIND.grace(made, asked) == seconds


# -- the row --


def status(name: str, state: Object, *, ready: bool = False, restarts: int = 0, last: float = 0.0) -> Object:
    made: Object = {"name": name, "state": state, "ready": ready, "restartCount": restarts}
    if last:
        made["lastState"] = {"terminated": {"finishedAt": rfc3339(last)}}
    return made


RUNNING: Object = {"running": {}}


@pytest.mark.parametrize(
    ("found", "row"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", "0"]),
        ({"phase": "Running", "containerStatuses": [status("c", RUNNING, ready=True)]}, ["1/1", "Running", "0"]),
        (
            {"phase": "Running", "containerStatuses": [status("c", RUNNING, ready=True, restarts=3, last=NOW - 300)]},
            ["1/1", "Running", "3 (5m ago)"],
        ),
        (
            {"phase": "Running", "containerStatuses": [status("c", {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=2)]},
            ["0/1", "CrashLoopBackOff", "2"],
        ),
        (
            {"phase": "Succeeded", "containerStatuses": [status("c", {"terminated": {"reason": "Completed", "exitCode": 0}})]},
            ["0/1", "Completed", "0"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [status("c", {"terminated": {"signal": 9, "exitCode": 137}})]},
            ["0/1", "Signal:9", "0"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [status("c", {"terminated": {"exitCode": 3}})]},
            ["0/1", "ExitCode:3", "0"],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/1", "Evicted", "0"]),
    ],
)  # fmt: skip
def test_ready_status_and_restarts(found: Object, row: list[str]) -> None:
    made = pod() | {"status": found}
    assert pod_status.cells(made, NOW)[1:4] == row


def test_init_containers_show_how_far_the_pod_is() -> None:
    made = pod(initContainers=[{"name": "i", "image": "x"}, {"name": "j", "image": "x"}])
    done = status("i", {"terminated": {"exitCode": 0, "reason": "Completed"}})
    waiting = {"waiting": {"reason": "PodInitializing"}}
    made["status"] = {"phase": "Pending", "initContainerStatuses": [done, status("j", waiting)]}
    assert pod_status.cells(made, NOW)[2] == "Init:1/2"
    made["status"]["initContainerStatuses"][1] = status(
        "j", {"terminated": {"exitCode": 1, "reason": "Error"}}
    )
    assert pod_status.cells(made, NOW)[2] == "Init:Error"
    made["status"]["initContainerStatuses"] = [done, status("j", done["state"])]
    made["status"]["containerStatuses"] = [status("c", waiting)]
    assert pod_status.cells(made, NOW)[2] == "PodInitializing"


def test_sidecars_count_as_ready_containers() -> None:
    made = pod(initContainers=[{"name": "s", "image": "x", "restartPolicy": "Always"}])
    sidecar = status("s", RUNNING, ready=True) | {"started": True}
    made["status"] = {
        "phase": "Running",
        "initContainerStatuses": [sidecar],
        "containerStatuses": [status("c", RUNNING, ready=True)],
    }
    assert pod_status.cells(made, NOW)[1:3] == ["2/2", "Running"]


def test_a_pod_being_deleted_is_terminating() -> None:
    made = pod() | {"status": {"phase": "Running"}}
    made["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    assert pod_status.cells(made, NOW)[2] == "Terminating"
    made["status"]["reason"] = "NodeLost"
    assert pod_status.cells(made, NOW)[2] == "Unknown"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:v1", "IfNotPresent"),
        ("host:5000/a", "Always"),
        ("host:5000/a:v1", "IfNotPresent"),
        ("[fd00::1]:5000/a/b__c--d:latest", "Always"),
        (f"a@sha256:{'a' * 64}", "IfNotPresent"),
        (f"a:v1@sha256:{'a' * 64}", "IfNotPresent"),
        (f"a:latest@sha256:{'a' * 64}", "Always"),
        ("Host/a", "Always"),
        ("UPPER", "IfNotPresent"),
        ("a:", "IfNotPresent"),
        ("", "IfNotPresent"),
        ("f" * 64, "IfNotPresent"),
    ],
)
def test_an_image_is_always_pulled_if_it_is_the_latest(image: str, policy: str) -> None:
    assert pod_defaults.pull_policy(image) == policy


def test_huge_pages_of_a_whole_pod_are_asked_for_as_they_are_limited() -> None:
    pages = {"hugepages-2Mi": "2Mi"}
    spec: Object = {
        "containers": [{"name": "a", "resources": {"limits": pages, "requests": {**pages, "cpu": "1"}}}],
        "resources": {"limits": {"hugepages-2Mi": "4Mi", "cpu": "2", "memory": "1Gi"}},
    }
    pod_defaults.pod_spec(spec, whole_pod=True)
    assert spec["resources"]["requests"] == {"hugepages-2Mi": "4Mi", "cpu": "1", "memory": "1Gi"}
