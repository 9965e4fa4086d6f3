"""Dynamic resource allocation: the suite's generic test on each of its kinds."""

from __future__ import annotations

from typing import Any

from conformance_client import API, Object
from conformance_crud import Subject, crud
from conformance_names import conformance

CRUD = "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 "
VERSION = "resource.k8s.io/v1"
CLAIM: Object = {
    "devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "e2e-class"}}]},
}
ALLOCATION: Object = {
    "devices": {
        "results": [
            {"request": "req-0", "driver": "driver-a.example.com", "pool": "worker", "device": "gpu-0"}
        ]
    }
}


def _select(obj: Any) -> None:
    obj["spec"]["selectors"] = [{"cel": {"expression": 'device.driver == "driver-b.example.com"'}}]


def _devices(obj: Any) -> None:
    obj["spec"]["devices"].append({"name": "gpu-1"})


@conformance(f"{CRUD}DeviceClass [Conformance]")
def test_device_classes(api: API) -> None:
    spec = {"selectors": [{"cel": {"expression": 'device.driver == "driver-a.example.com"'}}]}
    crud(api, Subject(VERSION, "deviceclasses", "DeviceClass", spec, edit=_select))


@conformance(f"{CRUD}ResourceClaim [Conformance]")
def test_resource_claims(api: API, namespace: str) -> None:
    for allocation in (ALLOCATION, {}):  # the suite's own allocation is of nothing
        subject = Subject(
            VERSION, "resourceclaims", "ResourceClaim", CLAIM, status={"allocation": allocation}
        )
        crud(api, subject, namespace)


@conformance(f"{CRUD}ResourceClaimTemplate [Conformance]")
def test_resource_claim_templates(api: API, namespace: str) -> None:
    crud(api, Subject(VERSION, "resourceclaimtemplates", "ResourceClaimTemplate", {"spec": CLAIM}), namespace)


@conformance(f"{CRUD}ResourceSlice [Conformance]")
def test_resource_slices(api: API) -> None:
    spec = {
        "driver": "driver-a.example.com",
        "nodeName": "worker",
        "pool": {"name": "worker", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0"}],
    }
    crud(api, Subject(VERSION, "resourceslices", "ResourceSlice", spec, edit=_devices))
