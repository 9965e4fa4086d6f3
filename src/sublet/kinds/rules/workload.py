"""Rules of kinds that make pods from a template they select by label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sublet.kinds.rules import pod_spec
from sublet.kinds.rules.common import Errors, label_selector, not_negative, selector_value
from sublet.machinery import selectors, strict
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, FieldError, field_forbidden, invalid, not_supported, required

_NUMBER = re.compile("[+-]?[0-9]+").fullmatch


def template_labels(spec: Object) -> Mapping[str, str]:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def noted_number(kind: str, obj: Object, note: str) -> int | None:
    """The number that an annotation holds in place of a field that apps/v1 lacks; None where there is none.

    The annotation is written as Go writes numbers. Raises ``BadRequest`` for
    what is no number of 64 bits: the object cannot be decoded.
    """
    notes = (obj.get("metadata") or {}).get("annotations") or {}
    if (text := notes.get(note)) is None:
        return None
    if _NUMBER(text) is None:
        raise strict.refusal(kind, "v1", f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(1 << 63) <= (number := int(text)) < 1 << 63:
        raise strict.refusal(kind, "v1", f'strconv.ParseInt: parsing "{text}": value out of range')
    notes[note] = str(number)
    return number


def selector(spec: Object, what: str) -> Errors:
    """``spec.selector``, which must be there and select something; ``what`` names the kind."""
    found = spec.get("selector")
    if found is None:
        yield required("spec.selector")
        return
    yield from label_selector("spec.selector", found)
    yield from not_empty(spec, what)


def not_empty(spec: Object, what: str) -> Errors:
    found = spec.get("selector")
    if found is not None and not found.get("matchLabels") and not found.get("matchExpressions"):
        yield invalid("spec.selector", selector_value(found), f"empty selector is invalid for {what}")


def selects_template(spec: Object, unreadable: str = "invalid label selector") -> Errors:
    """The selector must select what the template makes; no selector selects nothing.

    ``unreadable``: what a selector that breaks a rule of its own is told besides.
    """
    found, labels = spec.get("selector"), template_labels(spec)
    if found is None:
        yield mismatch(labels)
    elif list(label_selector("spec.selector", found)):
        yield invalid("spec.selector", selector_value(found), unreadable)
    elif not selectors.from_label_selector(found).matches(labels):
        yield mismatch(labels)


def mismatch(labels: Mapping[str, str]) -> FieldError:
    shown = dict(sorted(labels.items())) if labels else NIL
    where = "spec.template.metadata.labels"
    return invalid(where, shown, "`selector` does not match template `labels`")


def replica_template(spec: Object) -> Errors:
    """The template of a ReplicaSet, also within a Deployment."""
    errors = list(selects_template(spec))
    yield from errors
    if any(error.field == "spec.selector" for error in errors):
        return
    template = spec.get("template") or {}
    yield from pod_spec.template("spec.template", template)
    yield from always_running(template, "ReplicaSet")


def always_running(template: Object, owner: str) -> Errors:
    """Pods of these kinds are replaced, so they neither end by themselves nor have a deadline."""
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy") or ""
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


def no_more_than_replicas(
    status: Mapping[str, Any], *fields: str, ready: str = "cannot be greater than readyReplicas"
) -> Errors:
    """Counts of a status that are parts of ``status.replicas``; ``ready``: available pods are ready ones."""
    total = status.get("replicas") or 0
    for field in fields:
        count = status.get(field) or 0
        if count > total:
            yield invalid(f"status.{field}", count, "cannot be greater than status.replicas")
    available = status.get("availableReplicas") or 0
    if available > (status.get("readyReplicas") or 0):
        yield invalid("status.availableReplicas", available, ready)


def collisions(new: Object, old: Object) -> Errors:
    """``status.collisionCount`` only grows."""
    now = (new.get("status") or {}).get("collisionCount")
    then = (old.get("status") or {}).get("collisionCount")
    if then is not None and (now is None or now < then):
        yield invalid("status.collisionCount", now or 0, "cannot be decremented")
