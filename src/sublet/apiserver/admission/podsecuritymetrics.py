"""What is counted about Pod Security, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct, field

from sublet.apiserver.admission.podsecurity import LATEST, Standard
from sublet.machinery.exposition import Counter, label_text

if TYPE_CHECKING:
    from sublet.apiserver.admission.framework import Attributes

_OPERATIONS = ("CREATE", "UPDATE")


def _evaluations() -> Counter:
    what = "Number of policy evaluations that occurred, not counting ignored or exempt requests."
    counter = Counter("pod_security_evaluations_total", f"[ALPHA] {what}")
    for operation in _OPERATIONS:
        labels = _labels(operation, "pod", "")
        counter.values[_evaluation("allow", "enforce", "privileged", "latest", labels)] = 0
    return counter


def _exemptions() -> Counter:
    what = "Number of exempt requests, not counting ignored or out of scope requests."
    counter = Counter("pod_security_exemptions_total", f"[ALPHA] {what}")
    for operation in _OPERATIONS:
        for resource in ("controller", "pod"):
            counter.values[label_text(_labels(operation, resource, ""))] = 0
    return counter


def _errors() -> Counter:
    what = (
        "Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile "
        "being used for evaluation."
    )
    return Counter("pod_security_errors_total", f"[ALPHA] {what}")


class PodSecurityMetrics(Struct):
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    evaluations: Counter = field(default_factory=_evaluations)
    exemptions: Counter = field(default_factory=_exemptions)
    errors: Counter = field(default_factory=_errors)

    def evaluated(
        self, attributes: Attributes, mode: str, standard: Standard, newest: int, *, allowed: bool
    ) -> None:
        """``newest``: the server's own minor; what is newer is counted as one."""
        minor = standard.minor
        version = "future" if newest < minor < LATEST else "latest" if minor == LATEST else f"v1.{minor}"
        if standard.level == "privileged":
            version = "latest"
        labels = _evaluation("allow" if allowed else "deny", mode, standard.level, version, _of(attributes))
        self.evaluations.add(labels)

    def exempted(self, attributes: Attributes) -> None:
        self.exemptions.add(label_text(_of(attributes)))

    def misread(self, attributes: Attributes) -> None:
        """A namespace's labels say nothing that could be read, so something else was held to."""
        self.errors.add(label_text([("fatal", "false"), *_of(attributes)]))

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE."""
        yield from self.evaluations.lines()
        yield from self.exemptions.lines()
        if self.errors.values:
            yield from self.errors.lines()


def _of(attributes: Attributes) -> list[tuple[str, str]]:
    resource = "pod" if attributes.target == ("", "pods") else "controller"
    return _labels(attributes.operation, resource, attributes.subresource)


def _labels(operation: str, resource: str, subresource: str) -> list[tuple[str, str]]:
    return [("request_operation", operation.lower()), ("resource", resource), ("subresource", subresource)]


def _evaluation(decision: str, mode: str, level: str, version: str, labels: list[tuple[str, str]]) -> str:
    first = [("decision", decision), ("mode", mode), ("policy_level", level), ("policy_version", version)]
    return label_text([*first, *labels])
