"""Steps that many conformance tests share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from conformance_client import API, JSON_PATCH, LIMIT, APIError, Object, Resource

T = TypeVar("T")
STATUS_PATCH_CONDITION = {
    "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
}  # fmt: skip


def random_name(base: str) -> str:
    return f"{base}-{secrets.token_hex(3)}"


def wait_for(
    ask: Callable[[], T], what: str, limit: float = LIMIT, ignore: type[Exception] | None = None
) -> T:
    """The first true answer; asks again every 30 ms."""
    end = time.monotonic() + limit
    last: Any = None
    while time.monotonic() < end:
        try:
            last = ask()
            if last:
                return last
        except Exception as error:
            if ignore is None or not isinstance(error, ignore):
                raise
            last = error
        time.sleep(0.03)
    raise AssertionError(f"{what}: not within {limit} s (last: {last!r})")


def retry_on_conflict(step: Callable[[], T]) -> T:
    """Five tries, as client-go's default."""
    for _ in range(4):
        try:
            return step()
        except APIError as error:
            if error.reason != "Conflict":
                raise
            time.sleep(0.02)
    return step()


def change(resource: Resource, name: str, edit: Callable[[Object], None], subresource: str = "") -> Object:
    """Reads, edits and updates, again when someone else was faster."""

    def step() -> Object:
        found = resource.get(name)
        edit(found)
        return resource.update(found, subresource)

    return retry_on_conflict(step)


@contextmanager
def refused(reason: str, text: str = "") -> Iterator[list[APIError]]:
    """Asserts that the API refuses with this reason, and the text in its message; hands the error out."""
    caught: list[APIError] = []
    try:
        yield caught
    except APIError as error:
        assert error.reason == reason, f"{error.reason} instead of {reason}: {error}"
        assert text in error.message, f"{text!r} is not in {error.message!r}"
        caught.append(error)
    else:
        raise AssertionError(f"was not refused ({reason})")


def gone(resource: Resource, name: str, limit: float = LIMIT) -> None:
    """Waits until the object is not found."""

    def ask() -> bool:
        try:
            resource.get(name)
        except APIError as error:
            if error.reason == "NotFound":
                return True
            raise
        return False

    wait_for(ask, f"{resource.plural} {name} is deleted", limit)


def wait_count(resource: Resource, count: int, limit: float = LIMIT, **query: Any) -> None:
    wait_for(
        lambda: len(resource.items(**query)) == count,
        f"{count} {resource.plural} with {query}",
        limit,
    )


def resource_version(obj: Object) -> int:
    """The resource version as the suite's strict comparator reads it: decimal, no leading zero, not 0."""
    text = obj["metadata"]["resourceVersion"]
    assert text.isdigit() and not text.startswith("0"), f"resource version {text!r}"
    return int(text)


def check_discovery(api: API, api_version: str, *resources: str) -> None:
    """The group, its version and these resources are in the legacy discovery documents."""
    group, _, version = api_version.rpartition("/")
    groups = {item["name"]: item for item in api.get_json("/apis")["groups"]}
    assert group in groups, f"group {group} is not in /apis"
    assert version in [v["version"] for v in groups[group]["versions"]]
    shown = api.get_json(f"/apis/{group}")
    assert {"groupVersion": api_version, "version": version} in shown["versions"]
    found = {item["name"] for item in api.get_json(f"/apis/{api_version}")["resources"]}
    assert set(resources) <= found, f"{set(resources) - found} not in /apis/{api_version}"


def api_operations(
    resource: Resource, make: Callable[[], Object], *, edit_patch: Object, edit: Callable[[Object], None],
    check_edit: Callable[[Object], bool], selector: str,
) -> Object:  # fmt: skip
    """Creates three; gets, lists, watches, patches and updates one, and returns it as it is then.

    The upstream "should support … API operations" tests have these steps in common; the watch starts at the
    first create's version and must show the update.
    """
    first = resource.create(make())
    for _ in range(2):
        resource.create(make())
    name = first["metadata"]["name"]
    assert resource.get(name)["metadata"]["uid"] == first["metadata"]["uid"]
    assert len(resource.items(label_selector=selector)) == 3
    with resource.watch(
        resource_version=first["metadata"]["resourceVersion"], label_selector=selector
    ) as watch:
        patched = resource.patch(name, edit_patch)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        updated = change(resource, name, edit)
        assert check_edit(updated)
        watch.until("ADDED", lambda o: o["metadata"]["name"] != name)
        seen = watch.until(
            "MODIFIED", lambda o: o["metadata"].get("annotations", {}).get("updated") == "true"
        )
        assert seen["metadata"]["annotations"]["patched"] == "true"
    return updated


def delete_all(resource: Resource, name: str, selector: str, remaining: int) -> None:
    """Deletes one, then the rest of the collection."""
    resource.delete(name)
    gone(resource, name)
    wait_count(resource, remaining, label_selector=selector)
    resource.delete_collection(selector)
    wait_count(resource, 0, label_selector=selector)


def json_patch(resource: Resource, name: str, *steps: Object) -> Object:
    return resource.patch(name, list(steps), JSON_PATCH)


def condition(obj: Object, kind: str) -> Object | None:
    found = [c for c in obj.get("status", {}).get("conditions") or [] if c["type"] == kind]
    return found[0] if found else None
