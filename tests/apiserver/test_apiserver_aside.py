"""Large requests get the answers that small ones get, while others are answered."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from sublet.apiserver.aside import LARGE, aside
from sublet.kinds.resources import resource
from sublet.machinery.status import BadRequest, Invalid

MAPS = resource("configmaps")
LONG = {f"key-{number:04d}": "x" * 40 for number in range(1500)}


async def test_small_work_stays_on_the_loops_thread_and_large_work_leaves_it() -> None:
    assert await aside(LARGE - 1, threading.get_ident) == threading.get_ident()
    assert await aside(LARGE, threading.get_ident) != threading.get_ident()


async def test_what_fails_aside_fails_as_it_would_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        await aside(LARGE, lambda: 1 // 0)


async def test_a_large_object_is_created_merged_applied_and_replaced(client) -> None:
    assert len(json.dumps(LONG)) > LARGE
    made = await client.create(MAPS, {"metadata": {"name": "large"}, "data": LONG}, "default")
    assert made["data"] == LONG
    merged = await client.patch(
        MAPS, "large", {"data": {"key-0000": None, "more": "y"}}, "default", kind="merge"
    )
    assert len(merged["data"]) == len(LONG) and merged["data"]["more"] == "y"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": LONG}
    applied = await client.patch(MAPS, "large", body, "default", kind="apply", field_manager="a", force=True)
    assert applied["data"] == {**LONG, "more": "y"}
    owners = {entry["manager"]: entry["fieldsV1"]["f:data"] for entry in applied["metadata"]["managedFields"]}
    assert len(owners["a"]) == len(LONG) + ("." in owners["a"])
    replaced = await client.update(MAPS, {**applied, "data": {"a": "b"}})
    assert replaced["data"] == {"a": "b"}


async def test_large_objects_that_break_rules_are_refused_with_the_field(client) -> None:
    with pytest.raises(Invalid, match=r"data\[not valid\]: Invalid value"):
        await client.create(
            MAPS, {"metadata": {"name": "bad"}, "data": {**LONG, "not valid": "x"}}, "default"
        )
    with pytest.raises(BadRequest, match=r"cannot unmarshal number into Go struct field ConfigMap\.data"):
        await client.create(MAPS, {"metadata": {"name": "bad"}, "data": {**LONG, "number": 1}}, "default")


async def test_writers_of_one_large_object_lose_none_of_their_changes(client) -> None:
    await client.create(MAPS, {"metadata": {"name": "large"}, "data": LONG}, "default")

    async def write(number: int) -> None:
        await client.patch(MAPS, "large", {"data": {f"new-{number}": "y"}}, "default", kind="merge")

    await asyncio.gather(*(write(number) for number in range(4)))
    found = (await client.get(MAPS, "large", "default"))["data"]
    assert {f"new-{number}" for number in range(4)} <= set(found)
