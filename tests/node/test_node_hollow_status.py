"""What hollow nodes report of a pod, at which time."""

from __future__ import annotations

from sublet.machinery import objects
from sublet.node import hollow_status
from sublet.node.hollow_status import Place

PLACE = Place(("10.0.0.1",), ("10.1.0.1",), ("bad/*",))
NOW = 1_000_000.0


def pod(policy="Always", image="busybox", annotations=None, **spec):
    return {
        "metadata": {"name": "p", "uid": "u", "generation": 3, "annotations": annotations or {}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": image}], **spec},
    }


def step(made, now=NOW, place=PLACE):
    """The pod with the status it has at ``now``, and the seconds until the next change."""
    status, seconds = hollow_status.running(made, place, now)
    return {**made, "status": {**made.get("status", {}), **status}}, seconds


def state(made):
    return made["status"]["containerStatuses"][0]


def test_a_pod_runs_and_is_ready_at_once():
    made, seconds = step(pod())
    status = made["status"]
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.1.0.1", "10.0.0.1")
    assert status["observedGeneration"] == 3
    assert all(c["status"] == "True" for c in status["conditions"])
    assert state(made)["started"]
    assert seconds == 0


def test_a_second_look_changes_nothing():
    made, _ = step(pod())
    assert step(made, NOW + 100)[0] == made


def test_an_image_that_is_denied_keeps_the_pod_pending():
    made, _ = step(pod(image="bad/one"))
    assert made["status"]["phase"] == "Pending"
    assert state(made)["state"]["waiting"]["reason"] == "ErrImagePull"
    assert not objects.is_true(made, "Ready")


def test_pulls_that_fail_are_tried_again_ever_later():
    told = []
    made, seconds = step(pod(image="bad/one"))
    at = NOW
    for _ in range(7):
        told.append((at - NOW, state(made)["state"]["waiting"]["reason"]))
        at += seconds
        made, seconds = step(made, at)
    assert told == [
        (0, "ErrImagePull"), (1, "ImagePullBackOff"), (10, "ErrImagePull"), (11, "ImagePullBackOff"),
        (30, "ErrImagePull"), (31, "ImagePullBackOff"), (70, "ErrImagePull"),
    ]  # fmt: skip
    made, seconds = step(made, NOW + 610 + 300 * 1000 + 60)
    waiting = state(made)["state"]["waiting"]
    assert (waiting["reason"], seconds) == ("ImagePullBackOff", 240)
    error = 'failed to pull and unpack image "bad/one": not found'
    assert waiting["message"] == f'Back-off pulling image "bad/one": ErrImagePull: {error}'


def test_a_readiness_gate_holds_ready_back_until_its_condition_is_true():
    made, _ = step(pod(readinessGates=[{"conditionType": "x"}]))
    assert objects.condition(made, "Ready")["reason"] == "ReadinessGatesNotReady"
    assert objects.is_true(made, "ContainersReady")
    made["status"]["conditions"] = [*made["status"]["conditions"], {"type": "x", "status": "True"}]
    ready = objects.condition(step(made)[0], "Ready")
    assert ready["status"] == "True"
    assert ready["reason"] is None


def test_annotations_end_a_pod_that_does_not_restart():
    annotations = {hollow_status.RUN_SECONDS: "5"}
    made, seconds = step(pod("Never", annotations=annotations))
    assert (made["status"]["phase"], seconds) == ("Running", 5)
    made, seconds = step(made, NOW + 5)
    assert (made["status"]["phase"], seconds) == ("Succeeded", 0)
    assert state(made)["state"]["terminated"]["exitCode"] == 0


def test_an_exit_code_makes_the_pod_fail():
    made, _ = step(pod("Never", annotations={hollow_status.EXIT_CODE: "3"}))
    made, _ = step(made, NOW + 1)
    assert made["status"]["phase"] == "Failed"
    assert state(made)["state"]["terminated"]["exitCode"] == 3


def test_on_failure_it_starts_again_with_growing_backoff():
    made, _ = step(pod("OnFailure", annotations={hollow_status.EXIT_CODE: "1"}))
    made, _ = step(made, NOW + 1)
    assert state(made)["restartCount"] == 1
    made, seconds = step(made, NOW + 2)
    assert state(made)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert made["status"]["phase"] == "Running"
    assert seconds == 20
    made, _ = step(made, NOW + 22)
    assert state(made)["restartCount"] == 2
    assert state(made)["lastState"]["terminated"]["exitCode"] == 1


def test_a_deadline_ends_the_pod():
    made, seconds = step(pod(activeDeadlineSeconds=10))
    assert seconds == 10
    made, _ = step(made, NOW + 10)
    assert (made["status"]["phase"], made["status"]["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_changed_image_restarts_the_container():
    made, _ = step(pod())
    made["spec"]["containers"][0]["image"] = "busybox:2"
    made, _ = step(made, NOW + 1)
    assert (state(made)["restartCount"], state(made)["image"]) == (1, "busybox:2")
    assert "terminated" in state(made)["lastState"]


def test_init_containers_are_done_and_sidecars_run():
    inits = [{"name": "i", "image": "x"}, {"name": "s", "image": "x", "restartPolicy": "Always"}]
    made, _ = step(pod(initContainers=inits))
    first, second = made["status"]["initContainerStatuses"]
    assert first["state"]["terminated"]["reason"] == "Completed"
    assert "running" in second["state"]
    assert made["status"]["phase"] == "Running"


def test_a_denied_init_image_holds_the_containers():
    made, _ = step(pod(initContainers=[{"name": "i", "image": "bad/x"}]))
    assert state(made)["state"]["waiting"]["reason"] == "PodInitializing"
    assert not objects.is_true(made, "Initialized")


def test_behind_an_init_container_that_waits_none_begins():
    made, _ = step(pod(initContainers=[{"name": "i", "image": "bad/x"}, {"name": "j", "image": "x"}]))
    reasons = [s["state"]["waiting"]["reason"] for s in made["status"]["initContainerStatuses"]]
    assert reasons == ["ErrImagePull", "PodInitializing"]
    initialized = objects.condition(made, "Initialized")
    assert initialized["reason"] == "ContainersNotInitialized"
    assert initialized["message"] == "containers with incomplete status: [i j]"


def test_an_init_container_that_fails_for_good_fails_the_pod():
    annotations = {hollow_status.INIT_EXIT_CODE: "2"}
    inits = [{"name": "i", "image": "x"}, {"name": "j", "image": "x"}]
    made, _ = step(pod("Never", annotations=annotations, initContainers=inits))
    assert made["status"]["phase"] == "Pending"
    made, seconds = step(made, NOW + 1)
    first, second = made["status"]["initContainerStatuses"]
    assert (first["state"]["terminated"]["exitCode"], first["ready"]) == (2, False)
    assert second["state"]["waiting"]["reason"] == "PodInitializing"
    assert state(made)["state"]["waiting"]["reason"] == "PodInitializing"
    assert (made["status"]["phase"], seconds) == ("Failed", 0)
    message = "containers with incomplete status: [i j]"
    assert objects.condition(made, "Initialized")["message"] == message


def test_an_init_container_that_fails_starts_again_with_growing_backoff():
    annotations = {hollow_status.INIT_EXIT_CODE: "1"}
    made, seconds = step(pod(annotations=annotations, initContainers=[{"name": "i", "image": "x"}]))
    assert 0 < seconds < 1
    made, _ = step(made, NOW + 1)
    made, seconds = step(made, NOW + 2)
    (init,) = made["status"]["initContainerStatuses"]
    assert (init["state"]["waiting"]["reason"], init["restartCount"]) == ("CrashLoopBackOff", 1)
    assert init["lastState"]["terminated"]["exitCode"] == 1
    assert (made["status"]["phase"], round(seconds)) == ("Pending", 19)


def test_init_containers_run_one_after_another_as_long_as_they_are_told_to():
    annotations = {hollow_status.INIT_SECONDS: "5"}
    inits = [{"name": "i", "image": "x"}, {"name": "j", "image": "x"}]
    made, seconds = step(pod(annotations=annotations, initContainers=inits))
    kinds = [next(iter(each["state"])) for each in made["status"]["initContainerStatuses"]]
    assert (kinds, seconds, made["status"]["phase"]) == (["running", "waiting"], 5, "Pending")
    made, seconds = step(made, NOW + 5)
    kinds = [next(iter(each["state"])) for each in made["status"]["initContainerStatuses"]]
    assert (kinds, seconds) == (["terminated", "running"], 5)
    made, seconds = step(made, NOW + 10)
    assert (made["status"]["phase"], seconds) == ("Running", 0)
    assert objects.is_true(made, "Initialized")


def test_a_container_in_back_off_starts_again_when_the_clock_is_put_back():
    made, _ = step(pod(annotations={hollow_status.EXIT_CODE: "1"}))
    for later in (1, 2):
        made, _ = step(made, NOW + later)
    assert state(made)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    made, _ = step(made, NOW - 3600)
    assert "running" in state(made)["state"]


def test_a_deleted_pod_does_not_count_as_succeeded():
    made, _ = step(pod("Never"))
    status = hollow_status.ended(made, PLACE, NOW + 1)
    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


def test_jobs_can_be_made_to_finish_by_themselves():
    place = Place(("10.0.0.1",), ("10.1.0.1",), finish_seconds=2)
    made, _ = step(pod("Never"), place=place)
    assert step(made, NOW + 2, place)[0]["status"]["phase"] == "Succeeded"
    made, seconds = step(pod("Always"), place=place)
    assert seconds == 0
