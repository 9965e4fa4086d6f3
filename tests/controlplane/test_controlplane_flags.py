"""kube-apiserver's flags: which there are, what they mean, and how others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sublet.apiserver.audit.sinks import LogSettings
from sublet.controlplane.config import load
from sublet.controlplane.flags import applied, parse_flags
from sublet.controlplane.run import RunSettings, assembly, start
from sublet.machinery.settings import ConfigurationError


def extra_args(*arguments: str) -> dict[str, object]:
    return {"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": list(arguments)}}}}}


def test_pods_bear_bad_nodes_as_long_as_the_flags_say() -> None:
    flags = parse_flags(["--default-not-ready-toleration-seconds=30"])
    assert applied(flags)["admission"].toleration_seconds == (30, 300)


def test_flags_take_their_value_after_an_equals_sign_or_as_the_next_argument() -> None:
    flags = parse_flags(
        [
            "--event-ttl=2h30m",
            "--audit-log-maxsize",
            "7",
            "--disable-admission-plugins=A,B",
            "--disable-admission-plugins=C",
        ]
    )
    assert (flags.event_ttl, flags.audit_log_maxsize, flags.disable_admission_plugins) == (
        9000.0,
        7,
        ("A", "B", "C"),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--audit-log-pth=x"],
            "unknown flag --audit-log-pth of the API server: did you mean --audit-log-path?",
        ),
        (["--zzz"], "known flags: --"),
        (["audit"], "'audit' is no flag"),
        (["--event-ttl=soon"], '--event-ttl: time: invalid duration "soon"'),
        (["--audit-log-maxage=-1"], "--audit-log-maxage must be a whole number from 0, not '-1'"),
        (["--audit-log-format=legacy"], "--audit-log-format must be one of json, not 'legacy'"),
        (["--audit-log-path"], "--audit-log-path needs a value"),
        (["--audit-policy-file=p"], "neither --audit-log-path nor --audit-webhook-config-file"),
        (["--audit-log-path=-"], "set --audit-policy-file"),
        (["--service-node-port-range=5-1"], "must be like 30000-32767"),
        (["--disable-admission-plugins=Nothing"], 'disable-admission-plugins plugin "Nothing" is unknown'),
        (["--feature-gates=Nothing=true"], "unrecognized feature gate: Nothing"),
        (
            ["--feature-gates=WatchLists=true"],
            "unrecognized feature gate: WatchLists; did you mean WatchList?",
        ),
        (["--feature-gates=ServerSideApply=true"], "unrecognized feature gate: ServerSideApply"),
        (
            ["--feature-gates=JobManagedBy=false"],
            "cannot set feature gate JobManagedBy to false, feature is locked to true",
        ),
        (["--feature-gates=JobManagedBy"], "missing bool value for JobManagedBy"),
        (
            ["--feature-gates=JobManagedBy=maybe"],
            'invalid value of JobManagedBy=maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            ["--feature-gates=CBORServingAndStorage=true"],
            "cannot set feature gate CBORServingAndStorage to true: the feature is not here",
        ),
        (
            ["--feature-gates=OpenAPIEnums=false"],
            "cannot set feature gate OpenAPIEnums to false: the feature cannot be switched off here",
        ),
    ],
)
def test_a_flag_that_cannot_be_is_refused_with_the_way_out(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        applied(parse_flags(arguments))
    assert message in str(caught.value)


def test_feature_gates_of_what_is_always_on_may_be_stated() -> None:
    assert (
        applied(
            parse_flags(["--feature-gates=JobManagedBy=true,WatchList=true,CBORServingAndStorage=false"])
        )["event_ttl"]
        == 3600.0
    )


def test_a_wrong_flag_in_the_configuration_is_named_with_its_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(extra_args("--audit-log-pat=x"))
    assert str(caught.value).startswith("controlPlane.distro.k8s.apiServer.extraArgs: unknown flag")


def test_flags_of_the_command_line_come_after_those_of_the_configuration(tmp_path: Path) -> None:
    chosen = load(extra_args("--event-ttl=1m", "--service-node-port-range=40000-40010"))
    made = assembly(RunSettings(tmp_path, api_server_flags=("--event-ttl=2m",)), chosen)
    assert (made.settings["event_ttl"], made.settings["node_ports"]) == (120.0, (40000, 40010))


async def test_a_control_plane_writes_the_audit_log_that_its_flags_ask_for(tmp_path: Path) -> None:
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    flags = (f"--audit-policy-file={tmp_path / 'policy.yaml'}", f"--audit-log-path={tmp_path / 'audit.log'}")
    plane = await start(RunSettings(tmp_path / "data", port=0, api_server_flags=flags))
    await plane.stop()
    assert plane.assembly.settings["audit"].log == LogSettings(str(tmp_path / "audit.log"))
    assert all(
        json.loads(line)["kind"] == "Event" for line in (tmp_path / "audit.log").read_text().splitlines()
    )


def test_feature_gates_are_those_of_the_minor() -> None:
    stated = parse_flags(["--feature-gates=ServerSideApply=true,JobManagedBy=true,WatchList=false"])
    assert applied(stated, "1.31")["feature_gates"] == {"JobManagedBy": True}
    with pytest.raises(ConfigurationError, match="unrecognized feature gate: ServerSideApply"):
        applied(stated, "1.36")


def test_all_features_of_a_stage_may_be_switched_together_as_far_as_they_are_here() -> None:
    found = applied(parse_flags(["--feature-gates=AllAlpha=true,ContainerStopSignals=false"]), "1.36")[
        "feature_gates"
    ]
    assert "ContainerStopSignals" not in found
    assert found["DRAListTypeAttributes"] is True
    assert "CBORServingAndStorage" not in found
