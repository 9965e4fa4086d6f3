"""How a Job counts pods, when it ends and how many pods it wants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.controllers.job import accounts, decisions, indexes, policies


def job(status: Any = None, **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"job": "x"}},
        "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"},
    }
    return {
        "metadata": {"name": "x", "namespace": "ns", "uid": "j"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec},
        "status": status or {},
    }


def pod(uid: str, phase: str, index: int | None = None, **metadata: Any) -> dict[str, Any]:
    annotations = {} if index is None else {indexes.INDEX: str(index)}
    return {
        "metadata": {"name": uid, "namespace": "ns", "uid": uid, "finalizers": [accounts.FINALIZER],
                     "annotations": annotations, **metadata},
        "status": {"phase": phase},
    }  # fmt: skip


def booked(owner: Any, pods: list[Any], released: set[str] | None = None) -> accounts.Accounts:
    found = accounts.opened(owner, pods, released or set())
    accounts.book(owner, pods, found, released or set(), accounts.failures_by_index(owner, pods))
    return found


@given(st.sets(st.integers(0, 200)))
def test_indexes_survive_being_written_as_text(some: set[int]) -> None:
    assert indexes.parse(indexes.text(some)) == some


@pytest.mark.parametrize(("some", "text"), [([1, 3, 4, 5, 7], "1,3-5,7"), ([0, 1], "0,1"), ([], "")])
def test_runs_of_indexes_are_written_as_ranges(some: list[int], text: str) -> None:
    assert indexes.text(some) == text


def test_a_finished_pod_is_counted_in_three_steps_and_once() -> None:
    done = pod("a", "Succeeded")
    first = booked(job(), [done])
    assert (first.uncounted_succeeded, first.all_succeeded, first.succeeded) == (["a"], 1, 0)
    written = job({**first.status_fields(False, False)})
    again = booked(written, [done])
    assert again.all_succeeded == 1 and again.new_successes == 0
    free = {**done, "metadata": {**done["metadata"], "finalizers": []}}
    last = booked(written, [free])
    assert (last.succeeded, last.uncounted_succeeded) == (1, [])


def test_a_pod_whose_finalizer_is_gone_before_the_cache_shows_it_is_not_counted_again() -> None:
    written = job({"succeeded": 1})
    assert booked(written, [pod("a", "Succeeded")], released={"a"}).all_succeeded == 1


def test_an_index_that_succeeded_twice_counts_once() -> None:
    owner = job(completionMode="Indexed", completions=3, parallelism=3)
    found = booked(owner, [pod("a", "Succeeded", 1), pod("b", "Succeeded", 1)])
    assert found.status_fields(True, False)["completedIndexes"] == "1"
    assert found.status_fields(True, False)["succeeded"] == 1


def test_a_deleted_pod_counts_as_failed_unless_only_failed_ones_are_replaced() -> None:
    going = pod("a", "Running", deletionTimestamp="2026-01-01T00:00:00Z")
    assert booked(job(), [going]).all_failed == 1
    assert booked(job(podReplacementPolicy="Failed"), [going]).all_failed == 0


def test_a_job_ends_when_enough_pods_succeeded_and_none_runs() -> None:
    owner, pods = job(), [pod("a", "Succeeded")]
    found = decisions.ending(owner, booked(owner, pods), pods, 0.0)
    assert found is not None
    assert (found.kind, found.final, found.reason) == ("SuccessCriteriaMet", "Complete", "CompletionsReached")


def test_a_job_fails_beyond_its_backoff_limit() -> None:
    owner = job(backoffLimit=1)
    pods = [pod("a", "Failed"), pod("b", "Failed")]
    found = decisions.ending(owner, booked(owner, pods), pods, 0.0)
    assert found is not None and found.reason == "BackoffLimitExceeded"
    assert decisions.ending(owner, booked(owner, pods[:1]), pods[:1], 0.0) is None


def test_a_job_fails_at_its_deadline() -> None:
    owner = job({"startTime": "1970-01-01T00:00:00Z"}, activeDeadlineSeconds=10)
    found = decisions.ending(owner, accounts.Accounts(), [], 11.0)
    assert found is not None and found.reason == "DeadlineExceeded"


def test_failed_indexes_end_the_job_once_all_indexes_are_over() -> None:
    owner = job(
        completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=0, backoffLimit=99
    )
    pods = [pod("a", "Failed", 0), pod("b", "Succeeded", 1)]
    books = booked(owner, pods)
    assert books.failed_indexes == {0}
    found = decisions.ending(owner, books, pods, 0.0)
    assert found is not None and found.reason == "FailedIndexes"


def test_wanted_pods_never_exceed_what_is_left() -> None:
    owner = job(completions=5, parallelism=3)
    assert decisions.wanted_active(owner, accounts.Accounts(succeeded=0), 0) == 3
    assert decisions.wanted_active(owner, accounts.Accounts(succeeded=4), 0) == 1
    assert decisions.wanted_active(job(suspend=True), accounts.Accounts(), 1) == 0


def test_a_work_queue_starts_no_more_pods_after_the_first_success() -> None:
    owner = job(completions=None, parallelism=3)
    assert decisions.wanted_active(owner, accounts.Accounts(), 0) == 3
    assert decisions.wanted_active(owner, accounts.Accounts(succeeded=1), 2) == 2


def test_the_first_free_indexes_are_started() -> None:
    owner = job(completionMode="Indexed", completions=6)
    books = accounts.Accounts(completed_indexes={0}, failed_indexes={2})
    assert decisions.pending_indexes(owner, books, {1}, 2) == [3, 4]


def test_the_pod_of_an_index_knows_it() -> None:
    made = decisions.indexed_template(job(completionMode="Indexed"), 4, 0)
    assert made["spec"]["hostname"] == "x-4"
    assert made["metadata"]["annotations"][indexes.INDEX] == made["metadata"]["labels"][indexes.INDEX] == "4"
    assert made["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


def test_failures_in_a_row_wait_longer_up_to_ten_minutes() -> None:
    assert [decisions.backoff(n) for n in (0, 1, 2, 3, 50)] == [0.0, 10.0, 20.0, 40.0, 600.0]


def exited(code: int) -> dict[str, Any]:
    failed = pod("a", "Failed")
    failed["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"exitCode": code}}}]
    return failed


def test_a_failure_policy_rule_decides_by_exit_code() -> None:
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]
    owner = job(podFailurePolicy={"rules": rules})
    assert policies.failure(owner, exited(42)).action == "FailJob"
    assert policies.failure(owner, exited(1)).action == "Count"
    found = decisions.ending(owner, booked(owner, [exited(42)]), [], 0.0)
    assert found is not None and found.message == (
        "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 0"
    )


def test_ignored_failures_do_not_count() -> None:
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    lost = pod("a", "Failed")
    lost["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert booked(job(podFailurePolicy={"rules": rules}), [lost]).all_failed == 0


def test_a_success_policy_is_met_by_its_indexes_or_its_count() -> None:
    by_index = job(completions=5, successPolicy={"rules": [{"succeededIndexes": "0,2"}]})
    assert policies.success(by_index, {0, 1}) is None
    assert policies.success(by_index, {0, 2}) == "Matched rules at index 0"
    by_count = job(completions=5, successPolicy={"rules": [{"succeededIndexes": "0-3", "succeededCount": 2}]})
    assert policies.success(by_count, {0, 4}) is None
    assert policies.success(by_count, {0, 3}) == "Matched rules at index 0"


def test_pods_of_ended_and_doubled_indexes_are_surplus() -> None:
    owner = job(completionMode="Indexed", completions=3, parallelism=3)
    active = [pod("a", "Running", 0), pod("b", "Running", 1), pod("c", "Running", 1), pod("d", "Running", 7)]
    books = accounts.Accounts(completed_indexes={0})
    names = {p["metadata"]["uid"] for p in decisions.surplus_pods(owner, books, active, 0)}
    assert {"a", "d"} < names and len(names) == 3


def test_an_index_that_failed_waits_before_its_next_pod() -> None:
    failed = pod("a", "Failed", 0)
    terminated = {"state": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:01:40Z"}}}
    failed["status"]["containerStatuses"] = [terminated]
    assert decisions.index_backoffs([failed], {0: 1}, 104.0) == {0: 6.0}
    assert decisions.index_backoffs([failed], {0: 1}, 111.0) == {}


def test_a_suspended_job_that_has_enough_successes_is_complete_all_the_same() -> None:
    owner = job({"succeeded": 1}, suspend=True)
    found = decisions.ending(owner, booked(owner, []), [], 0.0)
    assert found is not None and found.reason == "CompletionsReached"
