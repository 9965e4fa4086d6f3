"""Rules of kinds that make pods from a template they select by label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.kinds.rules import pod_spec
from sublet.kinds.rules.common import Errors, label_selector, not_negative
from sublet.machinery import selectors
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, field_forbidden, invalid, not_supported, required


def template_labels(spec: Object) -> Mapping[str, str]:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def selector_and_template(spec: Object, what: str, *, owner: str = "ReplicaSet") -> Errors:
    """``spec.selector`` must select what ``spec.template`` makes. ``what`` names the kind in lower case."""
    selector = spec.get("selector")
    wrong: list[FieldError] = []
    if selector is None:
        yield required("spec.selector")
    else:
        wrong = list(label_selector("spec.selector", selector))
        yield from wrong
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, f"empty selector is invalid for {what}")
    if spec.get("template") is None:
        yield required("spec.template")
        return
    labels = template_labels(spec)
    if selector and not wrong and not selectors.from_label_selector(selector).matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pod_spec.template("spec.template", spec["template"])
    yield from always_running(spec["template"], owner)


def always_running(template: Object, owner: str) -> Errors:
    """Pods of these kinds are replaced, so they neither end by themselves nor have a deadline."""
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy")
    if policy != "Always":
        yield not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if spec.get("activeDeadlineSeconds") is not None:
        yield field_forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            f"activeDeadlineSeconds in {owner} is not Supported",
        )


def counts(spec: Object, *fields: str) -> Errors:
    """Numbers of a spec that may not be negative."""
    for field in fields:
        yield from not_negative(f"spec.{field}", spec.get(field))


def status_counts(status: Mapping[str, Any], *fields: str) -> Errors:
    """Numbers of a status that may not be negative."""
    for field in fields:
        yield from not_negative(f"status.{field}", status.get(field))


def no_more_than_replicas(status: Mapping[str, Any], *fields: str) -> Errors:
    """Counts of a status that are parts of ``status.replicas``."""
    total = status.get("replicas") or 0
    for field in fields:
        count = status.get(field) or 0
        if count > total:
            yield invalid(f"status.{field}", count, "cannot be greater than status.replicas")
