"""Holds pods to the Pod Security level that their namespace's labels state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.apiserver.admission import podsecurity
from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.machinery import names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, forbidden, invalid_object, not_supported
from sublet.machinery.status import invalid as invalid_value

_PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}


def _handles(attributes: Attributes) -> bool:
    if attributes.operation not in (CREATE, UPDATE):
        return False
    if attributes.target == ("", "pods"):
        return attributes.subresource in ("", "ephemeralcontainers")
    return not attributes.subresource and (
        attributes.target == ("", "namespaces") or attributes.target in _TEMPLATES
    )


async def _validate(attributes: Attributes, context: Context) -> None:
    if attributes.target == ("", "namespaces"):
        _check_labels(attributes)
        return
    namespace = await context.reader.get("", "namespaces", "", attributes.namespace)
    labels = objects.labels(namespace) if namespace is not None else {}
    enforce, warn = labels.get(f"{_PREFIX}enforce", ""), labels.get(f"{_PREFIX}warn", "")
    if not enforce and not warn:
        return
    if attributes.plural == "pods":
        _pod(attributes, labels, enforce, warn)
    elif template := _template(attributes.new(), _TEMPLATES[attributes.target]):
        # What makes pods is only warned about; the pods themselves are held to the level.
        level = max(enforce, warn, key=_rank)
        _warn(attributes, labels, level, "warn" if level == warn else "enforce", template)


def _pod(attributes: Attributes, labels: Mapping[str, str], enforce: str, warn: str) -> None:
    pod = attributes.new()
    if attributes.operation == UPDATE and not attributes.subresource:
        old = attributes.old()
        if (old.get("spec"), objects.annotations(old)) == (pod.get("spec"), objects.annotations(pod)):
            return
    found = podsecurity.evaluate(_level(enforce), pod)
    if found:
        version = labels.get(f"{_PREFIX}enforce-version", "latest")
        listed = ", ".join(str(violation) for violation in found)
        raise forbidden(
            "", "pods", attributes.name, f'violates PodSecurity "{_level(enforce)}:{version}": {listed}'
        )
    if _rank(warn) > _rank(enforce):
        _warn(attributes, labels, warn, "warn", pod)


def _warn(
    attributes: Attributes, labels: Mapping[str, str], level: str, mode: str, pod: Mapping[str, Any]
) -> None:
    found = podsecurity.evaluate(_level(level), pod)
    if found:
        version = labels.get(f"{_PREFIX}{mode}-version", "latest")
        listed = ", ".join(str(violation) for violation in found)
        attributes.warnings.append(f'would violate PodSecurity "{_level(level)}:{version}": {listed}')


def _level(stated: str) -> str:
    """A level that nobody knows counts as the strictest."""
    return stated if stated in podsecurity.LEVELS or not stated else "restricted"


def _rank(stated: str) -> int:
    return podsecurity.LEVELS.index(_level(stated)) if stated else 0


def _template(obj: Object, path: tuple[str, ...]) -> Object | None:
    found: Any = obj
    for step in path:
        found = (found or {}).get(step)
    return found if isinstance(found, dict) else None


def _check_labels(attributes: Attributes) -> None:
    """A namespace's labels must name levels and versions that exist."""
    labels = objects.labels(attributes.new())
    before = objects.labels(attributes.old_object) if attributes.old_object is not None else {}
    errors: list[FieldError] = []
    for mode in _MODES:
        key = f"{_PREFIX}{mode}"
        value = labels.get(key)
        if value is not None and value != before.get(key) and value not in podsecurity.LEVELS:
            errors.append(not_supported(f"metadata.labels[{key}]", value, podsecurity.LEVELS))
        version = labels.get(f"{key}-version")
        if version is not None and version != before.get(f"{key}-version") and not _is_version(version):
            errors.append(
                invalid_value(f"metadata.labels[{key}-version]", version, 'must be "latest" or "v1.x"')
            )
    if errors:
        raise invalid_object("", "Namespace", attributes.name, errors)


def _is_version(text: str) -> bool:
    return text == "latest" or (text.startswith("v1.") and text[3:].isdigit() and not names.label_value(text))


PLUGIN = Plugin("PodSecurity", _handles, validate=_validate)
