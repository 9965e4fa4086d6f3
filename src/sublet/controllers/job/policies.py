"""podFailurePolicy and successPolicy: what a failed pod and a set of finished indexes mean for the Job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sublet.controllers.job import indexes
from sublet.machinery import objects
from sublet.machinery.kind import Object


@dataclass(frozen=True)
class Verdict:
    """``action``: Count, Ignore, FailIndex or FailJob; ``message`` says which rule matched."""

    action: str = "Count"
    message: str = ""


def failure(job: Object, pod: Object) -> Verdict:
    """The first rule of podFailurePolicy that a failed pod matches; without one it counts."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        action = rule.get("action", "Count")
        if rule.get("onExitCodes"):
            found = _exit_code(rule["onExitCodes"], pod)
            if found is not None:
                container, code = found
                return Verdict(
                    action,
                    f"Container {container} for pod {objects.key(pod)} failed with exit code {code} "
                    f"matching {action} rule at index {number}",
                )
        for pattern in rule.get("onPodConditions") or ():
            condition = objects.condition(pod, pattern.get("type", ""))
            if condition is not None and condition.get("status") == (pattern.get("status") or "True"):
                return Verdict(
                    action,
                    f"Pod {objects.key(pod)} has condition {pattern['type']} matching {action} rule at index {number}",
                )
    return Verdict()


def _exit_code(requirement: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    values = set(requirement.get("values") or ())
    name = requirement.get("containerName")
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        terminated = (container.get("state") or {}).get("terminated")
        if terminated is None or (name and container.get("name") != name):
            continue
        code = int(terminated.get("exitCode") or 0)
        if code and (code in values) == (requirement.get("operator") == "In"):
            return container.get("name", ""), code
    return None


def success(job: Object, succeeded: set[int]) -> str | None:
    """The message of the first successPolicy rule that is met."""
    completions = job["spec"].get("completions")
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = (
            indexes.parse(rule["succeededIndexes"], completions) if rule.get("succeededIndexes") else None
        )
        reached = succeeded if wanted is None else succeeded & wanted
        enough = rule.get("succeededCount")
        if enough is None and wanted is None:
            continue
        if (enough is not None and len(reached) >= enough) or (
            enough is None and wanted and wanted <= succeeded
        ):
            return f"Matched rules at index {number}"
    return None


def restarts(pods: Iterable[Object]) -> int:
    """Restarts of containers of running pods, which count as failures with restartPolicy OnFailure."""
    total = 0
    for pod in pods:
        status = pod.get("status") or {}
        for part in ("initContainerStatuses", "containerStatuses"):
            total += sum(int(c.get("restartCount") or 0) for c in status.get(part) or ())
    return total
