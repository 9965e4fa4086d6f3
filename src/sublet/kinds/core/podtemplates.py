"""PodTemplate."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, pod_spec, show, warn
from sublet.kinds.rules.common import Errors, made, rule, update_rule
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    pod_defaults.forget_old_notes(made(obj, "template", "metadata"))
    pod_defaults.pod_spec(made(obj, "template", "spec"), whole_pod=False)


def _validate(obj: Object, old: Object | None = None) -> Errors:
    yield from pod_spec.template("template", obj.get("template"), (old or {}).get("template"))


def _cells(obj: Object, _now: float) -> list[Any]:
    template = obj.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    return [show.name(obj), *show.container_cells(template), show.label_text(labels)]


KIND = builtin(
    "podtemplates",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate),
    update_alone=True,
    warnings=warn.pod_template,
    cells=_cells,
)
