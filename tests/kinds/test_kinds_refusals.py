"""What new objects and changes are refused for: every cause, in order (``refusals*.yaml``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sublet.kinds import catalog
from sublet.machinery.kind import Kind, Object

HERE = Path(__file__).parent
SAMPLES: Mapping[str, Object] = {
    sample["kind"]: sample for sample in yaml.safe_load((HERE / "samples.yaml").read_text("utf-8"))
}
CASES = [
    case
    for name in ("refusals.yaml", "refusals_core.yaml", "refusals_specs.yaml")
    for case in yaml.safe_load((HERE / name).read_text("utf-8"))
]
KINDS = {kind.resource.kind: kind for kind in catalog.everything().values()}


def put(obj: Any, path: str, value: Any) -> None:
    """Sets the value at ``a.0.b``; maps on the way are made; null takes the field away."""
    *above, last = path.split(".")
    for key in above:
        obj = obj[int(key)] if isinstance(obj, list) else obj.setdefault(key, {})
    if value is None:
        obj.pop(last, None)
    elif isinstance(obj, list):
        obj[int(last)] = copy.deepcopy(value)
    else:
        obj[last] = copy.deepcopy(value)


def stored(kind: Kind, values: Mapping[str, Any]) -> Object:
    obj = copy.deepcopy(SAMPLES[kind.resource.kind])
    obj["metadata"].setdefault("namespace", "default")
    for path, value in values.items():
        put(obj, path, value)
    kind.default(obj)
    kind.prepare_create(obj)
    return obj


def refused(name: str, values: Mapping[str, Any]) -> list[str]:
    return [str(error) for error in KINDS[name].validate(stored(KINDS[name], values))]


def changed(name: str, before: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Of an update as the registry judges it, besides its metadata; ``before``: what is stored unlike the sample."""
    kind = KINDS[name]
    old = stored(kind, before)
    new = copy.deepcopy(old)
    for path, value in values.items():
        put(new, path, value)
    kind.default(new)
    kind.prepare_update(new, old)
    first = [] if kind.update_alone else list(kind.validate(new))
    return [str(error) for error in (*first, *kind.validate_update(new, old))]


def reported(
    name: str, before: Mapping[str, Any], had: Mapping[str, Any], status: Mapping[str, Any]
) -> list[str]:
    """Of a write to the status of an object that had another; ``before``: how its rest is unlike the sample."""
    kind = KINDS[name]
    old = stored(kind, before)
    new = copy.deepcopy(old)
    old["status"], new["status"] = copy.deepcopy(had), copy.deepcopy(status)
    return [str(error) for error in kind.validate_status(new, old)]


def called(case: Mapping[str, Any]) -> str:
    written = case.get("set") or case.get("change") or {"status": case.get("status")}
    return f"{case['of']}: {', '.join(written)}"


@pytest.mark.parametrize("case", CASES, ids=called)
def test_every_cause_of_a_refusal_is_told_in_order(case: Mapping[str, Any]) -> None:
    if "set" in case:
        assert refused(case["of"], case["set"]) == case["causes"]
    elif "status" in case:
        found = reported(case["of"], case.get("stored", {}), case.get("had", {}), case["status"])
        assert found == case["causes"]
    else:
        assert changed(case["of"], case.get("stored", {}), case["change"]) == case["causes"]
