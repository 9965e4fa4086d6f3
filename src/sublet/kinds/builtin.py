"""``builtin("deployments.apps", …)``: the Kind of a built-in resource, from the tables of facts plus its own rules.

Names, verbs and subresources come from ``data/api-resources.tsv``, strategy flags from ``data/resource-strategies.tsv``,
columns from ``data/printer-columns.tsv``, the schema from :mod:`sublet.kinds.schemas`. A kind's file states the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from sublet.kinds import resources, schemas
from sublet.kinds.rules import nulls
from sublet.machinery.kind import CREATED_TEXT, NAME_TEXT, Column, Kind, Object, Resource, Subresource
from sublet.machinery.schema import Schema

_STRATEGY_SINGULARS = {"core/endpoint": "endpoints", "certificates/certificates": "certificatesigningrequest"}
_COLUMN_KINDS = {
    "MutatingWebhookConfiguration": "MutatingWebhook",
    "ValidatingWebhookConfiguration": "ValidatingWebhook",
}
"""Kinds whose columns upstream registers under a shorter name."""

_TEXTS = {"@name": NAME_TEXT, "@created": CREATED_TEXT}
_SCALE = ("autoscaling", "v1")

_METADATA_BY_STATUS = frozenset(
    (
        "certificatesigningrequests.certificates.k8s.io", "cronjobs.batch",
        "customresourcedefinitions.apiextensions.k8s.io", "daemonsets.apps", "horizontalpodautoscalers.autoscaling",
        "ingresses.networking.k8s.io", "jobs.batch", "namespaces", "nodes", "persistentvolumeclaims",
        "persistentvolumes", "poddisruptionbudgets.policy", "replicasets.apps", "replicationcontrollers",
        "resourcequotas", "services", "statefulsets.apps",
    )
)  # fmt: skip
"""Kinds older than the rule that ``/status`` leaves metadata alone: who reports their status may label them too."""


class Strategy(Struct, frozen=True):
    """The flags of one line of ``data/resource-strategies.tsv``."""

    create_on_update: bool = False
    unconditional_update: bool = False
    generation: bool = False


_UNLISTED = {
    ("apiextensions", "customresourcedefinition"): Strategy(generation=True),
    ("apiregistration", "apiservice"): Strategy(),
}
"""Strategies of kinds that other upstream binaries' folders hold."""


@cache
def strategies() -> Mapping[tuple[str, str], Strategy]:
    """(group folder, singular) -> flags. What deletion does to dependents is stated by the kinds that orphan them."""
    found = dict(_UNLISTED)
    for name, create_on_update, unconditional, _, generation in resources.table("resource-strategies.tsv")[
        1:
    ]:
        folder, _, singular = name.partition("/")
        key = (folder, _STRATEGY_SINGULARS.get(name, singular))
        found[key] = Strategy(
            create_on_update=create_on_update == "true",
            unconditional_update=unconditional == "true",
            generation=generation == "yes",
        )
    return found


@cache
def columns() -> Mapping[str, tuple[Column, ...]]:
    """Kind -> its columns in order."""
    found: dict[str, list[Column]] = {}
    for kind, _, name, cell_type, cell_format, priority, text in resources.table("printer-columns.tsv")[1:]:
        text = _TEXTS.get(text) or text.replace("\\n", "\n")
        found.setdefault(kind, []).append(Column(name, cell_type, cell_format, text, int(priority)))
    return {kind: tuple(listed) for kind, listed in found.items()}


def group_folder(group: str) -> str:
    """The folder of a group's kinds: the group's first label, ``core`` for the core group."""
    return group.partition(".")[0] or "core"


def _subresources(listed: str) -> dict[str, Subresource]:
    """From ``status:Node(get,patch);eviction:policy/Eviction(create)``."""
    found = {}
    for entry in filter(None, listed.split(";")):
        name, _, rest = entry.partition(":")
        kind, _, verbs = rest.rstrip(")").partition("(")
        group, _, kind = kind.rpartition("/")
        version = ""
        if kind == "Scale":
            group, version = _SCALE
        elif group:
            version = "v1"
        found[name] = Subresource(name, kind, tuple(verbs.split(",")), group, version)
    return found


def _row(resource: Resource) -> Mapping[str, str]:
    wanted = (resource.group, resource.version, resource.plural)
    return next(r for r in resources.rows() if (r["group"], r["version"], r["resource"]) == wanted)


def builtin(
    name: str,
    *,
    status: Object | None = None,
    keeps_status: bool = False,
    prepare_create: Callable[[Object], None] | None = None,
    prepare_update: Callable[[Object, Object], None] | None = None,
    cells: Callable[[Object, float], list[Any]] | None = None,
    **rules: Any,
) -> Kind:
    """The Kind of a built-in resource (``pods``, ``deployments.apps``).

    ``status``: what a new object's status is, where the kind has that subresource (default: empty).
    ``keeps_status``: a client may set status on creation. ``rules``: further fields of :class:`Kind`.
    """
    resource = resources.resource(name)
    row = _row(resource)
    subresources = _subresources(row["subresources"])
    known = strategies()
    key = (group_folder(resource.group), row["singular"])
    strategy = known[key] if rules.get("stored", True) else known.get(key, Strategy())
    has_status = "status" in subresources
    if cells is not None and "columns" not in rules:
        rules["columns"] = columns()[_COLUMN_KINDS.get(resource.kind, resource.kind)]
    rules["reset"] = _resets(name, has_status) | rules.get("reset", {})
    default = nulls.completed(resource.kind, rules.pop("default", None))
    if default is not None:
        rules["default"] = default
    return Kind(
        resource=resource,
        singular=row["singular"],
        short_names=tuple(filter(None, row["shortNames"].split(","))),
        categories=tuple(filter(None, row["categories"].split(","))),
        verbs=tuple(row["verbs"].split(",")),
        subresources=subresources,
        schema=_schema_of(resource),
        prepare_create=_on_create(status, prepare_create, reset=has_status and not keeps_status),
        prepare_update=_on_update(prepare_update, restore=has_status),
        cells=cells,
        create_on_update=rules.pop("create_on_update", strategy.create_on_update),
        unconditional_update=rules.pop("unconditional_update", strategy.unconditional_update),
        generation=rules.pop("generation", strategy.generation),
        **rules,
    )


def _resets(name: str, has_status: bool) -> dict[str, tuple[str, ...]]:
    if not has_status:
        return {}
    return {"": ("status",), "status": ("spec",) if name in _METADATA_BY_STATUS else ("metadata", "spec")}


def _schema_of(resource: Resource) -> Callable[[str], Schema | None]:
    return lambda minor: schemas.definition(minor, resource.group, resource.version, resource.kind)


def _on_create(
    status: Object | None, further: Callable[[Object], None] | None, *, reset: bool
) -> Callable[[Object], None]:
    def prepare(obj: Object) -> None:
        if reset:
            obj["status"] = copy.deepcopy(status) if status else {}
        if further is not None:
            further(obj)

    return prepare


def _on_update(
    further: Callable[[Object, Object], None] | None, *, restore: bool
) -> Callable[[Object, Object], None]:
    def prepare(new: Object, old: Object) -> None:
        if restore:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        if further is not None:
            further(new, old)

    return prepare
