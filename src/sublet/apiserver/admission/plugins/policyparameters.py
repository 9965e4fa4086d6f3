"""Who makes an admission policy read objects must be allowed to read them (upstream checks it in the storage of policies
and bindings): its messages could tell what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.client.exchange import User
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid_object

_GROUP = "admissionregistration.k8s.io"
_POLICIES = {
    "validatingadmissionpolicybindings": "validatingadmissionpolicies",
    "mutatingadmissionpolicybindings": "mutatingadmissionpolicies",
}
_SUPERUSERS = "system:masters"
_EVERYTHING = "permission for all groups, versions and resources"


async def _validate(attributes: Attributes, context: Context) -> None:
    if _SUPERUSERS in attributes.user.groups:
        return
    spec = attributes.new().get("spec") or {}
    old = None if attributes.old_object is None else attributes.old_object.get("spec") or {}
    if attributes.plural in _POLICIES:
        field, why = "spec.paramRef", await _reference(attributes, context, spec, old)
    else:
        field, why = "spec.paramKind", await _kind(attributes, context, spec, old)
    if why:
        errors = [field_forbidden(field, why)]
        raise invalid_object(_GROUP, attributes.kind.resource.kind, attributes.name, errors)


async def _kind(attributes: Attributes, context: Context, spec: Object, old: Object | None) -> str:
    stated = spec.get("paramKind")
    if stated is None or (old is not None and old.get("paramKind") == stated):
        return ""
    group, resource = _served(context, stated)
    if await context.authorize(attributes.user, "get", group, resource or "*", "*", "*"):
        return ""
    version, kind = stated.get("apiVersion") or "", stated.get("kind") or ""
    return (
        f'user {_shown(attributes.user)} must have "get" permission on all objects of the referenced paramKind '
        f"(kind={kind}, apiVersion={version})"
    )


async def _reference(attributes: Attributes, context: Context, spec: Object, old: Object | None) -> str:
    reference, policy_name = spec.get("paramRef"), str(spec.get("policyName") or "")
    same = old is not None and old.get("paramRef") == reference and old.get("policyName") == policy_name
    if reference is None or same:
        return ""
    group, resource = "*", "*"
    policy = await context.reader.get(_GROUP, _POLICIES[attributes.plural], "", policy_name)
    kind = (policy or {}).get("spec", {}).get("paramKind")
    unknown = f"get policy {policy_name}" if policy is None else ""
    if kind is not None:
        group, served = _served(context, kind)
        resource = served or "*"
        if not served:
            shown = f"&{{{kind.get('apiVersion') or ''} {kind.get('kind') or ''}}}"
            unknown = f"resolve paramKind {shown}"
    name, namespace = str(reference.get("name") or ""), str(reference.get("namespace") or "")
    verb = "get" if name else "list"
    if await context.authorize(attributes.user, verb, group, resource, name, namespace):
        return ""
    who = f'user {_shown(attributes.user)} does not have "{verb}"'
    if unknown:
        return f"unable to {unknown} to determine minimum required permissions and {who} {_EVERYTHING}"
    return f"{who} permission on the object referenced by paramRef"


def _served(context: Context, kind: Mapping[str, Any]) -> tuple[str, str]:
    """(group, plural) of what is stated; the plural empty where nothing serves it."""
    group, _, version = str(kind.get("apiVersion") or "").rpartition("/")
    found = context.kinds(group, str(kind.get("kind") or ""), version) if context.kinds is not None else None
    return group, "" if found is None else found.plural


def _shown(user: User) -> str:
    extra = " ".join(f"{key}:[{' '.join(values)}]" for key, values in sorted(user.extra.items()))
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] map[{extra}]}}"


PLUGIN = Plugin(
    "PolicyParameters",
    on(*(f"{plural}.{_GROUP}" for pair in _POLICIES.items() for plural in pair)),
    validate=_validate,
)
