"""Holds pods to the Pod Security level that their namespace's labels state."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sublet.apiserver.admission import podsecurity
from sublet.apiserver.admission.configuration import NO_DEFAULTS
from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.apiserver.admission.podsecurity import PREFIX, Policy, Standard
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden, invalid_object

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
_MOST_PODS = 3000
_MOST_SECONDS = 1.0
"""How many existing pods, and for how long, a change of a namespace's level looks at."""
_AT_ONCE = 25
"""Pods looked at before others get their turn."""


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
        await _namespace(attributes, context)
        return
    exempt = context.configuration.pod_security.exemptions
    if attributes.namespace in exempt.namespaces or attributes.user.name in exempt.usernames:
        _spare(attributes, context, "namespace" if attributes.namespace in exempt.namespaces else "user")
        return
    namespace = await context.reader.get("", "namespaces", "", attributes.namespace)
    labels = objects.labels(namespace) if namespace is not None else {}
    policy = podsecurity.policy_of(labels, _defaults(context))
    if attributes.plural == "pods":
        if policy.is_privileged and not policy.errors:
            _let_in(attributes, context)
        elif attributes.operation == CREATE or _is_significant(attributes.new(), attributes.old()):
            _evaluate(attributes, context, policy, attributes.new(), enforce=True)
    elif policy.errors or (policy.audit.level, policy.warn.level) != ("privileged", "privileged"):
        template = _template(attributes.new(), _TEMPLATES[attributes.target])
        if template is not None:
            # What makes pods is only warned about; the pods themselves are held to the level.
            _evaluate(attributes, context, policy, template, enforce=False)


def _defaults(context: Context) -> Policy:
    stated = context.configuration.pod_security.defaults
    if stated is NO_DEFAULTS:
        return podsecurity.OPEN
    return podsecurity.policy_of({PREFIX + key: value for key, value in stated.labels().items()})


def _spare(attributes: Attributes, context: Context, why: str) -> None:
    attributes.annotations[f"{PREFIX}exempt"] = why
    context.pod_security.exempted(attributes)


def _let_in(attributes: Attributes, context: Context) -> None:
    """A pod of which nothing is asked, in whichever version of the standards."""
    attributes.annotations[f"{PREFIX}enforce-policy"] = str(podsecurity.OPEN.enforce)
    context.pod_security.evaluated(
        attributes, "enforce", podsecurity.OPEN.enforce, context.minor, allowed=True
    )


def _evaluate(
    attributes: Attributes, context: Context, policy: Policy, pod: Mapping[str, Any], *, enforce: bool
) -> None:
    runtime = (pod.get("spec") or {}).get("runtimeClassName")
    if runtime and runtime in context.configuration.pod_security.exemptions.runtime_classes:
        _spare(attributes, context, "runtimeClass")
        return
    counted = context.pod_security
    if policy.errors:
        listed = ", ".join(str(error) for error in policy.errors)
        whole = f"[{listed}]" if len(policy.errors) > 1 else listed
        attributes.annotations[f"{PREFIX}error"] = f"Failed to parse policy: {whole}"
        counted.misread(attributes)
    refusal = ""
    if enforce:
        attributes.annotations[f"{PREFIX}enforce-policy"] = str(policy.enforce)
        refusal = _found(policy.enforce, pod, context)
        counted.evaluated(attributes, "enforce", policy.enforce, context.minor, allowed=not refusal)
    if audited := _found(policy.audit, pod, context):
        text = f'would violate PodSecurity "{policy.audit}": {audited}'
        attributes.annotations[f"{PREFIX}audit-violations"] = text
        counted.evaluated(attributes, "audit", policy.audit, context.minor, allowed=False)
    if refusal:
        why = f'violates PodSecurity "{policy.enforce}": {refusal}'
        raise forbidden(attributes.group, attributes.plural, attributes.name, why)
    if warned := _found(policy.warn, pod, context):
        attributes.warnings.append(f'would violate PodSecurity "{policy.warn}": {warned}')
        counted.evaluated(attributes, "warn", policy.warn, context.minor, allowed=False)


def _found(standard: Standard, pod: Mapping[str, Any], context: Context) -> str:
    return podsecurity.told(podsecurity.evaluate(standard, pod, context.minor))


def _is_significant(pod: Object, old: Object) -> bool:
    """Whether an update changes what the standards are about: images, which containers there are, and their old
    seccomp annotations."""
    if _seccomp(pod) != _seccomp(old):
        return True
    new_spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    for key in ("containers", "initContainers"):
        before, after = old_spec.get(key) or (), new_spec.get(key) or ()
        if len(before) != len(after) or any(
            a.get("image") != b.get("image") for a, b in zip(after, before, strict=True)
        ):
            return True
    known = {c.get("name"): c.get("image") for c in old_spec.get("ephemeralContainers") or ()}
    return any(
        c.get("name") not in known or known[c.get("name")] != c.get("image")
        for c in new_spec.get("ephemeralContainers") or ()
    )


def _seccomp(pod: Object) -> dict[str, str]:
    """The annotations that were seccomp profiles once, of the pod and of the containers it has."""
    spec, prefix = pod.get("spec") or {}, "container.seccomp.security.alpha.kubernetes.io/"
    keys = {"seccomp.security.alpha.kubernetes.io/pod"}
    for key in ("containers", "initContainers", "ephemeralContainers"):
        keys |= {f"{prefix}{container.get('name')}" for container in spec.get(key) or ()}
    return {key: value for key, value in objects.annotations(pod).items() if key in keys}


def _template(obj: Object, path: tuple[str, ...]) -> Object | None:
    found: Any = obj
    for step in path:
        found = (found or {}).get(step)
    return found if isinstance(found, dict) else None


# -- namespaces --


async def _namespace(attributes: Attributes, context: Context) -> None:
    """Labels must name levels and versions that exist; who sets a stricter level learns which pods break it."""
    defaults = _defaults(context)
    new = podsecurity.policy_of(objects.labels(attributes.new()), defaults)
    old = defaults
    if attributes.operation == UPDATE:
        old = podsecurity.policy_of(objects.labels(attributes.old()), defaults)
    if new.errors and new.errors != old.errors:
        raise invalid_object("", "Namespace", attributes.name, new.errors)
    created = attributes.operation == CREATE
    if not created and not _is_stricter(new.enforce, old.enforce):
        return
    if attributes.name in context.configuration.pod_security.exemptions.namespaces:
        if not new.is_privileged and new != defaults:
            attributes.warnings.append(_ignored(attributes, new))
        return
    if created:
        return
    attributes.warnings += await _broken(context, attributes.name, new.enforce)


def _ignored(attributes: Attributes, policy: Policy) -> str:
    labels = objects.labels(attributes.new())
    modes = (("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn))
    listed = ", ".join(
        f"{mode}={standard}"
        for mode, standard in modes
        if standard.level != "privileged"
        and (f"{PREFIX}{mode}" in labels or f"{PREFIX}{mode}-version" in labels)
    )
    return f'namespace "{attributes.name}" is exempt from Pod Security, and the policy ({listed}) will be ignored'


def _is_stricter(new: Standard, old: Standard) -> bool:
    if new == old or new.level == "privileged":
        return False
    return new.minor != old.minor or new.rank > old.rank


async def _broken(context: Context, namespace: str, standard: Standard) -> list[str]:
    """Warnings about the pods that are there."""
    exempt = context.configuration.pod_security.exemptions.runtime_classes
    pods = _prioritized(await context.reader.list("", "pods", namespace), exempt)
    until = context.clock.monotonic() + _MOST_SECONDS
    found: dict[str, list[str]] = {}
    looked = 0
    for pod in pods[:_MOST_PODS]:
        if violations := podsecurity.evaluate(standard, pod, context.minor):
            found.setdefault(", ".join(each.reason for each in violations), []).append(objects.name(pod))
        looked += 1
        if looked % _AT_ONCE == 0:
            await asyncio.sleep(0)
            if context.clock.monotonic() > until:
                break
    warnings = []
    if looked < len(pods):
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {looked} of {len(pods)} existing pods"
        )
    if found:
        warnings.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        )
    return warnings + sorted(f"{_counted(names)}: {reasons}" for reasons, names in found.items())


def _prioritized(pods: Sequence[Object], exempt: Collection[str]) -> list[Object]:
    """The pods that are held to anything: one of each controller first, as the others are most likely the same."""
    seen: set[str] = set()
    first: list[Object] = []
    rest: list[Object] = []
    for pod in pods:
        if (pod.get("spec") or {}).get("runtimeClassName") in exempt:
            continue
        controller = next((str(o.get("uid")) for o in objects.owners(pod) if o.get("controller")), "")
        (rest if controller and controller in seen else first).append(pod)
        seen.add(controller)
    return first + rest


def _counted(names: Sequence[str]) -> str:
    others = len(names) - 1
    more = "" if not others else " (and 1 other pod)" if others == 1 else f" (and {others} other pods)"
    return min(names) + more


PLUGIN = Plugin("PodSecurity", _handles, validate=_validate)
