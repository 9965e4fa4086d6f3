"""kube-controller-manager's and kube-scheduler's flags: what they mean, and how others are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sublet.controllers import catalog
from sublet.controlplane import workerflags
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.controlplane.config import load
from sublet.controlplane.run import RunSettings, assembly
from sublet.kinds.resources import resource
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import NotFound


def extra_args(part: str, *arguments: str) -> dict[str, object]:
    return {"controlPlane": {"distro": {"k8s": {part: {"extraArgs": list(arguments)}}}}}


def names() -> set[str]:
    return {each.name for each in catalog.load()}


def disabled(*stated: str) -> set[str]:
    return set(workerflags.controlling([f"--controllers={','.join(stated)}"])["disabled_controllers"])


def test_every_controller_a_flag_counts_workers_of_is_there() -> None:
    assert set(workerflags._WORKERS.values()) <= names()


def test_every_old_name_is_of_a_controller_that_is_there() -> None:
    assert set(workerflags._OLD_NAMES.values()) <= names()


def test_a_star_is_all_of_them_but_those_after_a_minus() -> None:
    assert disabled("*", "-job-controller", "-ttl-controller") == {"job-controller", "ttl-controller"}


def test_without_a_star_only_those_named_run() -> None:
    assert disabled("job-controller", "namespace-controller") == names() - {
        "job-controller",
        "namespace-controller",
    }


def test_of_two_mentions_the_first_counts() -> None:
    assert disabled("*", "job-controller", "-job-controller") == set()


def test_a_controller_may_be_named_as_it_was_before() -> None:
    assert disabled("*", "-nodelifecycle", "-endpoint") == {
        "node-lifecycle-controller",
        "endpoints-controller",
    }


def test_a_controller_that_is_not_here_may_be_switched_off() -> None:
    assert disabled("*", "-service-lb-controller", "-route") == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--controllers=*,-jobs-controller"],
            "'jobs-controller' is not in the list of known controllers; did you mean job-controller?",
        ),
        (["--controllers=*,service-lb-controller"], "there is no service-lb-controller here"),
        (
            ["--node-monitor-grace=1m"],
            "unknown flag --node-monitor-grace of the controller manager: did you mean",
        ),
        (["--node-monitor-grace-period=0s"], "--node-monitor-grace-period must be above 0"),
        (["--concurrent-job-syncs=0"], "--concurrent-job-syncs must be above 0"),
        (["--concurrent-job-syncs=many"], "--concurrent-job-syncs must be a whole number from 0, not 'many'"),
        (["--node-eviction-rate=fast"], "--node-eviction-rate must be a number from 0, not 'fast'"),
        (["--node-cidr-mask-size-ipv4=40"], "--node-cidr-mask-size-ipv4 must be at most 32"),
        (["--use-service-account-credentials=false"], "must be one of true, not 'false'"),
        (["--feature-gates=Nothing=true"], "unrecognized feature gate: Nothing"),
    ],
)
def test_a_flag_that_cannot_be_is_refused_with_the_way_out(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(extra_args("controllerManager", *arguments))
    assert message in str(caught.value)
    assert str(caught.value).startswith("controlPlane.distro.k8s.controllerManager.extraArgs: ")


def test_flags_of_the_scheduler_are_the_schedulers_own() -> None:
    with pytest.raises(ConfigurationError, match="unknown flag --controllers of the scheduler"):
        load(extra_args("scheduler", "--controllers=*"))


def test_settings_and_workers_are_only_those_stated() -> None:
    found = workerflags.controlling(
        ["--terminated-pod-gc-threshold=10", "--concurrent-gc-syncs", "3", "--node-monitor-grace-period=1m"]
    )
    assert found == {
        "controller_settings": {"terminated_pod_gc_threshold": 10, "node_monitor_grace_period": 60.0},
        "controller_workers": {"garbage-collector-controller": 3},
        "disabled_controllers": frozenset(),
    }


def test_garbage_collection_and_nodes_ranges_have_switches_of_their_own() -> None:
    found = workerflags.controlling(["--enable-garbage-collector=false", "--allocate-node-cidrs=false"])
    assert found["disabled_controllers"] == {"garbage-collector-controller", "node-ipam-controller"}


def test_flags_of_both_reach_the_assembly(tmp_path: Path) -> None:
    scheduling = tmp_path / "scheduler.yaml"
    scheduling.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 7\n"
    )
    document = extra_args("controllerManager", "--controllers=*,-job-controller", "--leader-elect")
    document["controlPlane"]["distro"]["k8s"]["scheduler"] = {"extraArgs": [f"--config={scheduling}"]}  # type: ignore[index]
    made = assembly(RunSettings(data_dir=tmp_path), load(document))
    assert made.disabled_controllers == {"job-controller"}
    assert made.leader_elect
    assert made.scheduler_settings is not None and made.scheduler_settings.percentage_of_nodes == 7


def test_a_file_the_scheduler_is_told_of_need_not_be_where_the_document_is_read() -> None:
    load(extra_args("scheduler", "--config=/nowhere/scheduler.yaml"))


def test_a_missing_file_of_the_scheduler_ends_the_start(tmp_path: Path) -> None:
    chosen = load(extra_args("scheduler", "--config=/nowhere/scheduler.yaml"))
    with pytest.raises(ConfigurationError, match=r"/nowhere/scheduler\.yaml cannot be read"):
        assembly(RunSettings(data_dir=tmp_path), chosen)


def test_controllers_and_scheduler_cannot_disagree_about_leader_election() -> None:
    with pytest.raises(ConfigurationError, match="elected together"):
        workerflags.together({"leader_elect": True}, {"leader_elect": False})


async def test_a_controller_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    off = frozenset({"serviceaccount-controller"})
    plane = ControlPlane(Assembly(tmp_path, store_url="memory://", disabled_controllers=off))
    await plane.start()
    try:
        client = plane.client()
        await _there(lambda: client.get(resource("configmaps"), "kube-root-ca.crt", "default"))
        with pytest.raises(NotFound):
            await client.get(resource("serviceaccounts"), "default", "default")
    finally:
        await plane.stop()


async def test_metrics_name_queues_as_kube_controller_manager_does(tmp_path: Path) -> None:
    plane = ControlPlane(Assembly(tmp_path, store_url="memory://"))
    await plane.start()
    try:
        async with asyncio.timeout(20):  # controllers begin once the API answers
            while "scheduler_pending_pods" not in (text := plane.api.metrics.text()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await plane.stop()
    for name in ("deployment", "endpoint_slice", "garbage_collector_attempt_to_delete", "replicationmanager"):
        assert f'workqueue_depth{{name="{name}"}} ' in text


async def test_a_node_is_lost_after_the_time_that_is_set_and_its_pods_are_told(tmp_path: Path) -> None:
    flags = ["--node-monitor-grace-period=1s", "--node-monitor-period=200ms"]
    found = workerflags.controlling(flags)
    plane = ControlPlane(Assembly(tmp_path, store_url="memory://", scheduler=False, **found))
    await plane.start()
    nodes, pods, events = resource("nodes"), resource("pods"), resource("events")
    conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
    try:
        client = plane.client()
        for name in ("silent", "other"):
            await client.create(nodes, {"metadata": {"name": name}, "status": {"conditions": conditions}})
        spec = {"nodeName": "silent", "containers": [{"name": "c", "image": "i"}]}
        await _there(lambda: client.get(resource("serviceaccounts"), "default", "default"))
        await client.create(pods, {"metadata": {"name": "p"}, "spec": spec}, "default")
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(pods, "p", ready, "default", subresource="status")

        async def told() -> bool:
            reasons = {
                (each["reason"], each["involvedObject"]["kind"], each["source"].get("component"))
                for each in (await client.list(events))["items"]
            }
            return reasons >= {
                ("NodeNotReady", "Pod", "node-controller"),
                ("NodeNotReady", "Node", "node-controller"),
            }

        await _there(told)
        lost = await client.get(nodes, "silent")
        assert {c["type"]: c["status"] for c in lost["status"]["conditions"]}["Ready"] == "Unknown"
        assert "node.kubernetes.io/unreachable" in {t["key"] for t in lost["spec"]["taints"]}
    finally:
        await plane.stop()


async def _there(look: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(500):
        try:
            if await look():
                return
        except NotFound:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in 25 s")


def test_whom_pods_trust_may_be_stated_in_a_file(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    stated = [f"--root-ca-file={authority}"]
    assert workerflags.controlling(stated)["controller_settings"] == {"root_ca": authority.read_text()}
    assert not workerflags.controlling(stated, files=False)["controller_settings"]
    with pytest.raises(
        ConfigurationError, match=r"error reading root-ca-file at .*: no such file or directory"
    ):
        workerflags.controlling([f"--root-ca-file={tmp_path}/none"])
    authority.write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"error parsing root-ca-file"):
        workerflags.controlling(stated)


def test_ranges_of_pods_may_be_stated_as_the_controller_managers(tmp_path: Path) -> None:
    document = extra_args("controllerManager", "--cluster-cidr=10.4.0.0/16,fd00:4::/56")
    made = assembly(
        RunSettings(data_dir=tmp_path), load({**document, "networking": {"podCIDR": "10.5.0.0/16"}})
    )
    assert made.pod_cidr == "10.4.0.0/16,fd00:4::/56"
    with pytest.raises(ConfigurationError, match="they are not configured as dual stack"):
        load(extra_args("controllerManager", "--cluster-cidr=10.4.0.0/16,10.5.0.0/16"))
