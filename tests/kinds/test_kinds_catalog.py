"""What every kind file must be, whichever it is: files are found, not listed."""

from __future__ import annotations

import copy
import csv
import importlib
import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from sublet.kinds import builtin, catalog, resources, schemas
from sublet.machinery import strict, table
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import BadRequest

NOW = 1_770_000_000.0
KINDS = catalog.everything()
SAMPLES: list[Object] = yaml.safe_load(Path(__file__).with_name("samples.yaml").read_text("utf-8"))
STORED: dict[str, Object] = {
    obj["kind"]: obj for obj in yaml.safe_load(Path(__file__).with_name("stored.yaml").read_text("utf-8"))
}
BY_KIND = {(sample["apiVersion"], sample["kind"]): sample for sample in SAMPLES}

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.resource.qualified)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])


def kind_of(obj: Object) -> Kind:
    group, _, _ = obj["apiVersion"].rpartition("/")
    return next(k for k in KINDS.values() if (k.resource.group, k.resource.kind) == (group, obj["kind"]))


@pytest.mark.parametrize("module", catalog.modules())
def test_a_kind_file_is_named_after_its_group_and_plural(module: str) -> None:
    kind = importlib.import_module(module).KIND
    folder, plural = module.split(".")[-2:]
    assert kind.resource.plural == plural
    assert builtin.group_folder(kind.resource.group) == folder


def test_every_generally_available_row_of_the_table_has_a_kind() -> None:
    stable = {
        (row["group"], row["version"], row["resource"])
        for row in resources.rows()
        if "alpha" not in row["version"] and "beta" not in row["version"]
    }
    served = {(r.group, r.version, r.plural) for kind in KINDS.values() for r in kind.served()}
    assert served == stable


@pytest.mark.parametrize("minor", schemas.minors())
def test_a_minor_serves_exactly_the_kinds_its_definitions_have(minor: str) -> None:
    loaded = catalog.load(minor)
    for key, kind in KINDS.items():
        assert (key in loaded) == (kind.schema(minor) is not None)


def test_minors_are_those_promised() -> None:
    assert schemas.minors() == tuple(f"1.{minor}" for minor in range(30, 38))


def test_an_unknown_minor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"1\.30, 1\.31"):
        catalog.load("1.12")


@every_kind
def test_columns_are_those_of_the_table_of_facts(kind: Kind) -> None:
    name = {
        "MutatingWebhookConfiguration": "MutatingWebhook",
        "ValidatingWebhookConfiguration": "ValidatingWebhook",
    }.get(kind.resource.kind, kind.resource.kind)
    path = Path(builtin.__file__).parent / "data" / "printer-columns.tsv"
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"))
    wanted = [(r["column"], r["type"], r["format"], int(r["priority"])) for r in rows if r["kind"] == name]
    if wanted:
        assert [(c.name, c.type, c.format, c.priority) for c in kind.columns] == wanted
        assert kind.cells is not None


@every_kind
def test_every_column_says_what_it_shows(kind: Kind) -> None:
    """But one, of which upstream's description is empty too: it asks metadata for a field that is not there."""
    silent = {column.name for column in kind.columns if not column.description}
    assert silent == ({"Handler"} if kind.resource.kind == "RuntimeClass" else set())


@pytest.mark.parametrize(
    ("kind", "column", "text"),
    [
        ("pods", "Name", "Name must be unique within a namespace. Is required when creating resources,"),
        ("pods", "Age", "CreationTimestamp is a timestamp representing the server time when this object was"),
        ("pods", "Restarts", "The number of times the containers in this pod have been restarted and when the last"),
        ("pods", "IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not"),
        ("deployments.apps", "Selector", "Label selector for pods. Existing ReplicaSets whose pods are selected by"),
        ("services", "Type", "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are"),
        ("roles.rbac.authorization.k8s.io", "Created At", "CreationTimestamp is a timestamp representing"),
    ],
)  # fmt: skip
def test_columns_are_described_in_the_words_of_the_api(kind: str, column: str, text: str) -> None:
    (columns,) = (each.columns for each in catalog.load("1.36").values() if each.resource.qualified == kind)
    (found,) = (each for each in columns if each.name == column)
    assert found.description.startswith(text)
    assert "Possible enum values" not in found.description


@every_kind
def test_rules_take_an_empty_object_without_failing(kind: Kind) -> None:
    obj: Object = {"metadata": {"name": "a"}}
    kind.default(obj)
    kind.prepare_create(obj)
    kind.validate(obj)
    kind.validate_update(obj, copy.deepcopy(obj))
    kind.validate_status(obj, copy.deepcopy(obj))
    kind.warnings(obj, None)
    assert len(table.cells(kind, obj, NOW)) == len(kind.columns)
    for value in kind.selectable.values():
        assert isinstance(value(obj), str)


@every_kind
def test_every_stored_kind_has_a_sample(kind: Kind) -> None:
    resource = kind.resource
    assert not kind.stored or (resource.api_version, resource.kind) in BY_KIND


def created(sample: Object) -> tuple[Kind, Object]:
    """The sample as the API server would store it."""
    kind, obj = kind_of(sample), copy.deepcopy(sample)
    schema = kind.schema("1.36")
    assert schema is not None
    assert strict.check(obj, schema) == strict.StrictResult()
    kind.default(obj)
    kind.prepare_create(obj)
    return kind, obj


@every_sample
def test_a_sample_is_valid_once_defaulted(sample: Object) -> None:
    kind, obj = created(sample)
    assert list(kind.validate(obj)) == []
    assert list(kind.validate_update(obj, copy.deepcopy(obj))) == []


def test_the_golden_objects_are_those_of_the_samples() -> None:
    assert list(STORED) == [sample["kind"] for sample in SAMPLES]


@every_sample
def test_a_sample_is_stored_with_every_default(sample: Object) -> None:
    assert created(sample)[1] == STORED[sample["kind"]]


@pytest.mark.parametrize(
    ("kind", "sent", "written"),
    [
        ("EndpointSlice", {"addressType": "IPv4"}, {"addressType": "IPv4", "endpoints": None, "ports": None}),
        ("Role", {}, {"rules": None}),
        ("ClusterRole", {}, {"rules": None}),
        ("LimitRange", {}, {"spec": {"limits": None}}),
        ("ResourceQuota", {}, {"spec": {}, "status": {}}),
        ("CSINode", {}, {"spec": {"drivers": None}}),
        ("Lease", {}, {"spec": {}}),
        ("PriorityClass", {}, {"value": 0, "preemptionPolicy": "PreemptLowerPriority"}),
        ("ResourceClaim", {}, {"spec": {"devices": {}}, "status": {}}),
        ("ResourceClaimTemplate", {}, {"spec": {"metadata": {}, "spec": {"devices": {}}}}),
    ],
)
def test_what_kubernetes_always_writes_is_there_though_empty(
    kind: str, sent: Object, written: Object
) -> None:
    found = next(k for k in KINDS.values() if k.resource.kind == kind)
    obj = copy.deepcopy(sent)
    found.default(obj)
    found.prepare_create(obj)
    assert obj == written


@every_sample
def test_defaulting_twice_changes_nothing_more(sample: Object) -> None:
    kind, obj = created(sample)
    kind.default(obj)
    once = copy.deepcopy(obj)
    kind.default(obj)
    assert obj == once


@pytest.mark.parametrize("minor", schemas.minors())
def test_what_defaults_and_preparation_add_is_in_the_schema_of_each_minor(minor: str) -> None:
    for sample in SAMPLES:
        kind = kind_of(sample)
        schema = kind.schema(minor)
        if schema is None:
            continue
        obj = copy.deepcopy(sample)
        strict.check(obj, schema)
        kind.default(obj)
        kind.prepare_create(obj)
        kind.default(obj)
        assert strict.check(obj, schema) == strict.StrictResult(), sample["kind"]


@every_sample
def test_a_row_has_a_cell_per_column_of_its_type(sample: Object) -> None:
    kind, obj = created(sample)
    row = table.cells(kind, obj, NOW)
    assert len(row) == len(kind.columns)
    for cell, column in zip(row, kind.columns, strict=True):
        if column.type == "integer":
            assert type(cell) is int
        assert cell is None or isinstance(cell, (str, int, bool))
    json.dumps(row)


@every_sample
def test_other_served_versions_convert_there_and_back(sample: Object) -> None:
    kind, obj = created(sample)
    for served in kind.also_served:
        before = copy.deepcopy(obj)
        other = served.from_stored(obj)
        assert obj == before
        assert table.cells(kind, other, NOW) == table.cells(kind, obj, NOW)
        assert (other["apiVersion"], other["kind"]) == (served.resource.api_version, served.resource.kind)
        resource = served.resource
        schema = schemas.definition("1.36", resource.group, resource.version, resource.kind)
        assert schema is not None
        assert strict.check(copy.deepcopy(other), schema).unknown == []
        back = served.to_stored(other)
        kind.default(back)
        kind.default(before)
        assert back == before


def mangled(value: Any, rng: random.Random) -> Any:
    """A value of the same shape with some leaves changed or gone."""
    if isinstance(value, dict):
        return {k: mangled(v, rng) for k, v in value.items() if rng.random() > 0.1}
    if isinstance(value, list):
        return [mangled(v, rng) for v in value if rng.random() > 0.1]
    if rng.random() > 0.3:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([0, -1, 1, 70000, 2**31 - 1])
    return "".join(rng.choices(string.printable, k=rng.randrange(4)))


@every_sample
def test_whatever_the_schema_lets_through_is_judged_and_never_breaks_the_rules(sample: Object) -> None:
    kind = kind_of(sample)
    schema = kind.schema("1.36")
    assert schema is not None
    rng = random.Random(7)
    for _ in range(60):
        obj = mangled(copy.deepcopy(created(sample)[1]), rng)
        obj |= {"apiVersion": sample["apiVersion"], "kind": sample["kind"]}
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        if strict.check(obj, schema).errors:
            continue
        try:
            kind.default(obj)
        except BadRequest:
            continue  # annotations that are no numbers cannot be decoded either
        for error in kind.validate(obj):
            assert error.body
        kind.validate_update(obj, created(sample)[1])
        kind.validate_status(obj, created(sample)[1])
        kind.warnings(obj, None)
        table.cells(kind, obj, NOW)
