"""IngressClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, immutable, needs, one_of, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required

_MAX_CONTROLLER = 250


def _default(obj: Object) -> None:
    parameters = spec_of(obj).get("parameters")
    if parameters is not None:
        fill(parameters, scope="Cluster")


def domain_path(path: str, value: str) -> Errors:
    """``DOMAIN/PATH``: names of controllers and signers."""
    domain, slash, rest = value.partition("/")
    if not slash or not rest:
        yield invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    for text in names.dns1123_subdomain(domain):
        yield invalid(path, domain, text)


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    controller = spec.get("controller") or ""
    if len(controller) > _MAX_CONTROLLER:
        yield invalid("spec.controller", controller, f"must be no more than {_MAX_CONTROLLER} characters")
    if not controller:
        yield required("spec.controller")
    else:
        yield from domain_path("spec.controller", controller)
    if (parameters := spec.get("parameters")) is not None:
        where, scope = "spec.parameters", parameters.get("scope")
        for field in ("kind", "name"):
            yield from needs(f"{where}.{field}", parameters.get(field), names.path_segment)
        yield from one_of(f"{where}.scope", scope, ("Cluster", "Namespace"), needed=True)
        namespace = parameters.get("namespace")
        if scope == "Namespace" and not namespace:
            yield required(f"{where}.namespace", '`parameters.scope` is set to "Namespace"')
        elif scope == "Cluster" and namespace is not None:
            yield field_forbidden(f"{where}.namespace", '`parameters.scope` is set to "Cluster"')


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("spec.controller", spec_of(new).get("controller"), spec_of(old).get("controller"))


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    parameters = spec.get("parameters")
    text = show.NONE
    if parameters:
        kind = parameters.get("kind", "")
        group = parameters.get("apiGroup")
        text = f"{kind}.{group}/{parameters.get('name')}" if group else f"{kind}/{parameters.get('name')}"
    return [show.name(obj), spec.get("controller", ""), text, show.age(obj, now)]


KIND = builtin(
    "ingressclasses.networking.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
