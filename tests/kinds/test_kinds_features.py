"""Feature gates: what is on in which minor, what may be switched, and what kinds make of it."""

from __future__ import annotations

import copy

import pytest

from sublet.kinds import catalog, features, schemas
from sublet.kinds.features import FeatureError, Features
from sublet.kinds.rules import gates, older
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import FieldError

MINORS = schemas.minors()


def kind(name: str, minor: str, **stated: bool) -> Kind:
    return next(
        each for each in catalog.load(minor, Features(minor, stated)).values() if each.resource.kind == name
    )


def pod(**spec: object) -> Object:
    container = {"name": "c", "image": "i"}
    return {
        "metadata": {"name": "a", "namespace": "d", "labels": {"app": "x"}},
        "spec": {"containers": [container], **spec},
    }


def defaulted(name: str, minor: str, obj: Object, **stated: bool) -> Object:
    """As it would be stored."""
    found = kind(name, minor, **stated)
    found.default(obj)
    found.prepare_create(obj)
    return obj


def wrong(name: str, minor: str, obj: Object) -> dict[str, str]:
    """Field -> detail of everything that is refused of a new object."""
    found = kind(name, minor)
    found.default(obj)
    found.prepare_create(obj)
    errors: list[FieldError] = list(found.validate(obj))
    return {error.field: error.body for error in errors}


@pytest.mark.parametrize(
    ("gate", "on_in"),
    [
        ("WatchList", ("1.32", "1.34", "1.35", "1.36", "1.37")),
        ("MaxUnavailableStatefulSet", ("1.35", "1.37")),
        ("JobManagedBy", ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")),
        ("PodSchedulingReadiness", MINORS),
        ("AllowDNSOnlyNodeCSR", ()),
        ("CompositePodGroup", ()),
        ("CRDObservedGenerationTracking", ("1.36", "1.37")),
        ("MutableSchedulingDirectivesForSuspendedJobs", ("1.36", "1.37")),
        ("StrictIPCIDRValidation", ("1.36", "1.37")),
        ("CustomCPUCFSQuotaPeriod", ("1.36", "1.37")),
        ("HPAScaleToZero", ("1.37",)),
    ],
)
def test_a_feature_is_on_from_the_minor_that_says_so(gate: str, on_in: tuple[str, ...]) -> None:
    assert tuple(minor for minor in MINORS if features.defaults(minor).enabled(gate)) == tuple(on_in)


def test_a_gate_is_known_from_its_first_minor_to_its_last() -> None:
    assert [minor for minor in MINORS if "AppArmorFields" in features.known(minor)] == [
        "1.30",
        "1.31",
        "1.32",
    ]
    assert [minor for minor in MINORS if "EnvFiles" in features.known(minor)] == [
        "1.34",
        "1.35",
        "1.36",
        "1.37",
    ]
    assert features.defaults("1.36").enabled("AppArmorFields")


def test_every_line_of_the_table_can_be_read_and_its_stages_only_go_forward() -> None:
    for name, line in features._table().items():
        minors = [int(stage.rstrip("!").strip("abgdABGD-").partition(".")[2]) for stage in line.stages]
        assert minors == sorted(minors), name
        for minor in MINORS:
            features._latest(name, minor)


def test_what_decides_about_fields_and_rules_is_in_the_table() -> None:
    assert set(features._table()) >= gates.ACTED | older.ACTED


def test_stated_gates_win_over_defaults_and_groups_switch_what_is_not_locked() -> None:
    found = features.parse(["AllBeta=false", "WatchList=true"], "1.36")
    assert found.enabled("WatchList") and not found.enabled("EnvFiles")
    assert found.enabled("JobManagedBy")
    assert features.parse(["AllAlpha=true"], "1.36").enabled("ContainerStopSignals")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("Nothing=true", "unrecognized feature gate: Nothing"),
        ("EnvFiles", "missing bool value for EnvFiles"),
        ("JobManagedBy=false", "cannot set feature gate JobManagedBy to false, feature is locked to true"),
        ("SeparateCacheWatchRPC=true", "cannot set feature gate SeparateCacheWatchRPC to true, feature is locked to false"),
        (
            "JobManagedBy=false,ImageVolume=false",
            "[cannot set feature gate JobManagedBy to false, feature is locked to true, "
            "cannot set feature gate ImageVolume to false, feature is locked to true]",
        ),
        (
            "WorkloadWithJob=true",
            "WorkloadWithJob is enabled, but depends on features that are disabled: [GenericWorkload]",
        ),
        (
            "ContainerRestartRules=false",
            "RestartAllContainersOnContainerExits is enabled, but depends on features that are disabled: "
            "[ContainerRestartRules]",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_in_kubernetes_words(stated: str, message: str) -> None:
    with pytest.raises(FeatureError) as caught:
        features.parse(stated.split(","), "1.36")
    assert str(caught.value) == message


def test_what_a_gate_needs_is_looked_at_since_1_35() -> None:
    assert features.parse(["ClusterTrustBundleProjection=true"], "1.34").enabled(
        "ClusterTrustBundleProjection"
    )
    with pytest.raises(FeatureError, match=r"depends on features that are disabled: \[ClusterTrustBundle\]"):
        features.parse(["ClusterTrustBundleProjection=true"], "1.35")


@pytest.mark.parametrize("minor", MINORS)
def test_no_default_needs_what_is_off(minor: str) -> None:
    assert features.parse([], minor) == features.defaults(minor)


# -- fields --


@pytest.mark.parametrize(
    ("field", "value", "known", "since"),
    [
        ("hostUsers", False, "1.30", "1.33"),
        ("hostnameOverride", "h", "1.34", "1.35"),
        ("resources", {"limits": {"cpu": "1"}}, "1.32", "1.34"),
        ("resourceClaims", [{"name": "r", "resourceClaimName": "r"}], "1.30", "1.34"),
    ],
)
def test_a_field_of_a_pod_is_kept_from_the_minor_that_switches_it_on(
    field: str, value: object, known: str, since: str
) -> None:
    """Minors before the one that has it first do not know the field at all."""
    minors = [minor for minor in MINORS if minor >= known]
    kept = [minor for minor in minors if field in defaulted("Pod", minor, pod(**{field: value}))["spec"]]
    assert kept == [minor for minor in minors if minor >= since]


def test_fields_deep_in_a_pod_are_dropped_and_what_is_beside_them_stays() -> None:
    container = {
        "name": "c", "image": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
        "securityContext": {"procMount": "Default", "privileged": False},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Disabled"}],
    }  # fmt: skip
    found = defaulted("Pod", "1.30", pod(containers=[container]))["spec"]["containers"][0]
    assert "resizePolicy" not in found
    assert found["securityContext"] == {"privileged": False, "procMount": "Default"}
    assert found["volumeMounts"] == [{"name": "v", "mountPath": "/v", "readOnly": True}]


def test_an_object_that_uses_a_feature_keeps_its_fields_on_update() -> None:
    new, old = pod(hostUsers=False), pod(hostUsers=False)
    kind("Pod", "1.30").prepare_update(new, old)
    assert new["spec"]["hostUsers"] is False
    kind("Pod", "1.30").prepare_update(new, pod())
    assert "hostUsers" not in new["spec"]


def test_a_status_loses_what_its_feature_is_not_on_for() -> None:
    new: Object = {
        "status": {
            "observedGeneration": 3,
            "containerStatuses": [{"name": "c", "allocatedResourcesStatus": []}],
        }
    }
    old: Object = {"metadata": {}, "spec": {}, "status": {"qosClass": "BestEffort"}}
    kind("Pod", "1.33").prepare_status(new, old)
    assert new["status"] == {"containerStatuses": [{"name": "c"}], "qosClass": "BestEffort"}


def test_a_gate_that_is_switched_off_drops_what_the_minor_has() -> None:
    assert (
        "hostnameOverride"
        not in defaulted("Pod", "1.36", pod(hostnameOverride="h"), HostnameOverride=False)["spec"]
    )
    assert "hostnameOverride" in defaulted("Pod", "1.36", pod(hostnameOverride="h"))["spec"]


@pytest.mark.parametrize(("minor", "left"), [("1.34", None), ("1.35", 1), ("1.36", None), ("1.37", 1)])
def test_a_stateful_set_says_how_many_may_be_unavailable_where_the_feature_is_on(
    minor: str, left: int | None
) -> None:
    obj: Object = {
        "metadata": {"name": "s"},
        "spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {}}},
    }
    found = defaulted("StatefulSet", minor, obj)["spec"]["updateStrategy"]["rollingUpdate"]
    assert found.get("maxUnavailable") == left


# -- rules that were relaxed, and what came late --


def test_names_of_environment_variables_were_narrower() -> None:
    spec = {"containers": [{"name": "c", "image": "i", "env": [{"name": "1 2", "value": "x"}]}]}
    where = "spec.containers[0].env[0].name"
    assert wrong("Pod", "1.31", pod(**spec))[where] == (
        'Invalid value: "1 2": a valid environment variable name must consist of alphabetic characters, digits, '
        "'_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', "
        "regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')"
    )
    assert where not in wrong("Pod", "1.32", pod(**spec))


def test_search_paths_of_dns_were_names_without_underscores() -> None:
    where = "spec.dnsConfig.searches[0]"
    assert where in wrong("Pod", "1.32", pod(dnsConfig={"searches": ["."]}))
    assert where not in wrong("Pod", "1.33", pod(dnsConfig={"searches": ["."]}))


def test_names_of_services_began_with_a_letter() -> None:
    for minor, allowed in (("1.35", False), ("1.36", True)):
        validate = kind("Service", minor).validate_name
        assert validate is not None
        assert (not validate("1st", False)) is allowed


def test_traffic_distribution_had_one_value() -> None:
    service: Object = {
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "clusterIP": "None", "trafficDistribution": "PreferSameZone"},
    }
    where = "spec.trafficDistribution"
    assert (
        wrong("Service", "1.33", service)[where]
        == 'Unsupported value: "PreferSameZone": supported values: "PreferClose"'
    )
    assert where not in wrong("Service", "1.34", service)


def test_only_init_containers_had_a_restart_policy_of_their_own() -> None:
    spec = {"containers": [{"name": "c", "image": "i", "restartPolicy": "Always"}]}
    where = "spec.containers[0].restartPolicy"
    assert wrong("Pod", "1.34", pod(**spec))[where] == "Forbidden: may not be set for non-init containers"
    assert where not in wrong("Pod", "1.35", pod(**spec))


@pytest.mark.parametrize("minor", MINORS)
def test_keys_of_spread_constraints_are_merged_into_their_selectors_since_1_34(minor: str) -> None:
    constraint = {
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["app", "none"],
    }  # fmt: skip
    obj = pod(topologySpreadConstraints=[constraint])
    assert not wrong("Pod", minor, obj)
    merged = [{"key": "app", "operator": "In", "values": ["x"]}] if minor >= "1.34" else None
    (found,) = obj["spec"]["topologySpreadConstraints"]
    assert found["labelSelector"].get("matchExpressions") == merged


def test_a_key_that_the_selector_has_already_is_refused_in_every_minor() -> None:
    for minor in MINORS:
        constraint = {
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "x"}}, "matchLabelKeys": ["app"],
        }  # fmt: skip
        found = wrong("Pod", minor, pod(topologySpreadConstraints=[constraint]))
        where = "spec.topologySpreadConstraints[0]" + ("[0]" if minor >= "1.34" else ".matchLabelKeys[0]")
        assert found == {where: 'Invalid value: "app": exists in both matchLabelKeys and labelSelector'}


def test_pods_are_resized_since_1_33_and_have_generations_since_1_34() -> None:
    assert [minor for minor in MINORS if "resize" in kind("Pod", minor).subresources] == list(MINORS[3:])
    assert [minor for minor in MINORS if kind("Pod", minor).generation] == list(MINORS[4:])


def test_what_1_37_brings_as_alpha_is_dropped_until_its_gate_is_on() -> None:
    spec = {
        "evictionResponders": [{"name": "a.b/c"}],
        "volumes": [
            {"name": "e", "emptyDir": {"mode": 0o755}},
            {"name": "c", "configMap": {"name": "c", "defaultUser": 1, "items": [{"key": "k", "path": "p", "user": 1}]}},
        ],
        "containers": [
            {
                "name": "c", "image": "i", "livenessProbe": {"grpc": {"port": 1, "mode": "TLS"}},
                "volumeMounts": [{"name": "e", "mountPath": "/e", "bindMountOptions": ["noexec"]}],
            }
        ],
    }  # fmt: skip
    found = defaulted("Pod", "1.37", pod(**copy.deepcopy(spec)))["spec"]
    assert "evictionResponders" not in found
    assert found["volumes"][0]["emptyDir"] == {}
    assert "defaultUser" not in found["volumes"][1]["configMap"]
    assert found["volumes"][1]["configMap"]["items"] == [{"key": "k", "path": "p"}]
    assert found["containers"][0]["livenessProbe"]["grpc"] == {"port": 1, "service": ""}
    assert "bindMountOptions" not in found["containers"][0]["volumeMounts"][0]
    kept = defaulted("Pod", "1.37", pod(**spec), EvictionRequestAPI=True, EmptyDirVolumeMode=True)["spec"]
    assert kept["evictionResponders"] == [{"name": "a.b/c"}]
    assert kept["volumes"][0]["emptyDir"] == {"mode": 0o755}
