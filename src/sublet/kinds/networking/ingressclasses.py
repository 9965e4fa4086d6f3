"""IngressClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, immutable, named, rule, spec_of, update_rule
from sublet.kinds.rules.references import domain_path, typed_reference
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, not_supported, required, too_long

_MAX_CONTROLLER = 250


def _default(obj: Object) -> None:
    parameters = spec_of(obj).get("parameters")
    if parameters is not None:
        fill(parameters, scope="Cluster")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    controller = spec.get("controller") or ""
    if len(controller) > _MAX_CONTROLLER:
        yield too_long("spec.controller", _MAX_CONTROLLER)
    yield from domain_path("spec.controller", controller)
    if (parameters := spec.get("parameters")) is None:
        return
    where, scope, namespace = "spec.parameters", parameters.get("scope"), parameters.get("namespace")
    yield from typed_reference(where, parameters)
    if scope is None:
        yield required(f"{where}.scope")
    elif scope not in ("Cluster", "Namespace"):
        yield not_supported(f"{where}.scope", scope, ("Cluster", "Namespace"))
    elif scope == "Namespace" and namespace is None:
        yield required(f"{where}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Namespace":
        yield from named(f"{where}.namespace", namespace, names.dns1123_label)
    elif namespace is not None:
        yield field_forbidden(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'")


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("spec.controller", spec_of(new).get("controller"), spec_of(old).get("controller"))
    yield from _validate(new)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    parameters = spec.get("parameters")
    text = show.NONE
    if parameters:
        kind = parameters.get("kind", "")
        group = parameters.get("apiGroup")
        kind += "" if group is None else f".{group}"
        text = f"{kind}/{parameters.get('name')}"
    return [show.name(obj), spec.get("controller", ""), text, show.age(obj, now)]


KIND = builtin(
    "ingressclasses.networking.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
)
