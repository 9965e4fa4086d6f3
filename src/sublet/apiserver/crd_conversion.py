"""Conversion of custom resources between their versions by webhook (ConversionReview; reference B.18).

Everything that needs an object in another version than the one it has asks here; where no webhook converts, the
answer is immediate. An object is in the version that its ``apiVersion`` says: values that were stored before the
storage version changed keep their old one until they are written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sublet.apiserver import conversion
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.objectmeta import annotation_errors, label_errors
from sublet.apiserver.watchcache import CachedEntry
from sublet.apiserver.webhookclient import CallFailed, ClientConfig, WebhookClient
from sublet.machinery import codec
from sublet.machinery.gotext import go_type
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import StatusError, aggregated

if TYPE_CHECKING:
    from sublet.apiserver.registry import Registry
    from sublet.apiserver.writing import Value

GROUP = "apiextensions.k8s.io"
VERSIONS = ("v1", "v1beta1")
SECONDS = 30.0
"""How long one webhook may take, as upstream."""
BATCH = 500
"""Objects per review at most."""


class WebhookConverter(Struct, frozen=True):
    """Converts the objects of one definition (:class:`~sublet.apiserver.conversion.Converter`)."""

    client: WebhookClient
    config: ClientConfig
    versions: Sequence[str]
    """``conversionReviewVersions`` of the definition."""
    new_uid: Callable[[], str]

    @classmethod
    def of(cls, crd: Object, client: WebhookClient, new_uid: Callable[[], str]) -> WebhookConverter | None:
        """None where the definition's strategy is not Webhook."""
        stated = (crd.get("spec") or {}).get("conversion") or {}
        if stated.get("strategy") != "Webhook":
            return None
        webhook = stated.get("webhook") or {}
        config = ClientConfig.of(webhook.get("clientConfig") or {})
        return cls(client, config, tuple(webhook.get("conversionReviewVersions") or ()), new_uid)

    async def convert(self, objs: Sequence[Object], api_version: str) -> list[Object]:
        """New objects in ``api_version``, in the order given. Raises ``StatusError`` (500)."""
        batches = [objs[start : start + BATCH] for start in range(0, len(objs), BATCH)]
        answers = await asyncio.gather(*(self._convert(batch, api_version) for batch in batches))
        return [obj for answer in answers for obj in answer]

    async def _convert(self, objs: Sequence[Object], api_version: str) -> list[Object]:
        what = f"{objs[0].get('apiVersion')}, Kind={objs[0].get('kind')}"
        try:
            converted = await self._ask(objs, api_version)
        except CallFailed as error:
            raise _failure(f"conversion webhook for {what} failed: {error}") from None
        if len(converted) != len(objs):
            raise _failure(
                f"conversion webhook for {what} returned {len(converted)} objects, expected {len(objs)}"
            )
        return [_accepted(what, old, new, api_version) for old, new in zip(objs, converted, strict=True)]

    async def _ask(self, objs: Sequence[Object], api_version: str) -> Sequence[Any]:
        version = next((v for v in self.versions if v in VERSIONS), None)
        if version is None:
            raise _failure("no supported conversion review versions")
        uid = self.new_uid()
        document = {
            "kind": "ConversionReview",
            "apiVersion": f"{GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objs)},
        }
        answer = await self.client.post(self.config, codec.encode_json(document), SECONDS)
        return _converted(answer, version, uid)


def _failure(text: str) -> StatusError:
    return StatusError(text, code=500, reason="")


def _converted(answer: Object, version: str, uid: str) -> Sequence[Any]:
    """The objects in a ConversionReview that was answered. Raises :class:`CallFailed`."""
    found = str(answer.get("apiVersion") or ""), str(answer.get("kind") or "")
    fits = found == (f"{GROUP}/{version}", "ConversionReview")
    if version == "v1" and not fits:
        shown = found[0] if "/" in found[0] else f"/{found[0]}"
        raise CallFailed(
            f"expected webhook response of {GROUP}/{version}, Kind=ConversionReview, "
            f"got {shown}, Kind={found[1]}"
        )
    if not fits and all(found):
        raise CallFailed("no response provided")  # an answer in another version is not looked at
    response = answer.get("response")
    if not isinstance(response, dict):
        raise CallFailed("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result") or {}
    if result.get("status") != "Success":
        message = result.get("message")
        raise CallFailed(
            str(message)
            if message
            else f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        )
    objs = response.get("convertedObjects") or ()
    return objs if isinstance(objs, list) else ()


def _accepted(what: str, old: Object, new: Any, api_version: str) -> Object:
    """The converted object with the old one's metadata; of that a webhook may change labels and annotations alone.

    Objects are spoken of as if each had been sent alone, as upstream does.
    """
    begin = f"conversion webhook for {what} returned invalid "
    if not isinstance(new, dict) or not new.get("kind"):
        raise _failure(f"Object 'Kind' is missing in '{codec.encode_json(new).decode().strip()}'")
    for word, expected, found in (
        ("groupVersion", api_version, new.get("apiVersion")), ("kind", old.get("kind"), new["kind"]),
    ):  # fmt: skip
        if expected != found:
            raise _failure(
                f"{begin}object at index 0: invalid {word} (expected {expected}, received {found or ''})"
            )
    before, after = old.get("metadata") or {}, new.get("metadata")
    shown = after if isinstance(after, dict) else {}
    for key, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (before.get(key) or "") != (shown.get(key) or ""):
            differ = f"{before.get(key) or ''} != {shown.get(key) or ''}"
            raise _failure(f"{begin}object: must have the same {word}: {differ}")
    if not isinstance(after, dict):
        why = f"invalid metadata of type {go_type(after)}" if "metadata" in new else "missing metadata"
        raise _failure(f"{begin}metadata: {why} in converted object")
    metadata = codec.copied(before)
    for key in ("labels", "annotations"):
        metadata.pop(key, None)
        stated = after.get(key)
        if stated is None:
            continue
        if stated != before.get(key) and (problem := _problem(key, stated)):
            raise _failure(f"{begin}metadata: {problem}")
        metadata[key] = stated
    return {**new, "metadata": metadata}


def _problem(key: str, stated: Any) -> str:
    """What is wrong with labels or annotations, ``""`` if nothing."""
    if not isinstance(stated, dict):
        return f"invalid metadata.{key} of type {go_type(stated)} in converted object"
    for name, value in stated.items():
        if not isinstance(value, str):
            return f"metadata.{key}[{name}] must be a string, but is {go_type(value)} in converted object"
    errors = label_errors(stated) if key == "labels" else annotation_errors(stated, "metadata.annotation")
    return aggregated(errors)


# -- for those who read and write objects --


def converter_of(kind: Kind) -> conversion.Converter | None:
    """What converts the kind's objects by asking somebody; None where conversion is a function."""
    return kind.converter if isinstance(kind, CustomKind) else None


async def in_version(kind: Kind, resource: Resource, objs: Sequence[Object]) -> list[Object]:
    """The objects as served in ``resource``, those of other versions converted together. Inputs stay as they are."""
    if not isinstance(kind, CustomKind) or kind.converter is None:
        return [conversion.from_stored(kind, resource, obj) for obj in objs]
    wanted = resource.api_version
    others = [obj for obj in objs if obj.get("apiVersion") != wanted]
    if not others:
        return list(objs)
    made = iter(await kind.converter.convert(others, wanted))
    finish = (kind.finishing if resource == kind.resource else kind.pruning).get(resource.version)
    found = []
    for obj in objs:
        if obj.get("apiVersion") == wanted:
            found.append(obj)
        else:
            new = next(made)
            if finish is not None:
                finish(new)
            found.append(new)
    return found


async def from_stored(kind: Kind, resource: Resource, obj: Object) -> Object:
    """One object as served in ``resource``; the same one when it is in that version."""
    return (await in_version(kind, resource, [obj]))[0]


async def current(kind: Kind, obj: Object) -> Object:
    """An object that was read from the store in the stored version of today."""
    if not isinstance(kind, CustomKind) or kind.converter is None:
        return obj
    return (await in_version(kind, kind.resource, [obj]))[0]


async def to_stored(kind: Kind, resource: Resource, obj: Object) -> Object:
    """One object in the stored version; ``obj``, which is in ``resource``, is the caller's no more."""
    if not isinstance(kind, CustomKind) or kind.converter is None:
        return conversion.to_stored(kind, resource, obj)
    if resource != kind.resource and (finish := kind.finishing.get(resource.version)):
        finish(obj)
    return (await in_version(kind, kind.resource, [obj]))[0]


class _Slot(Struct):
    """Of a cached entry: its object in another version, or the conversion that is on its way."""

    obj: Object | None = None
    task: asyncio.Task[None] | None = None


async def shown(
    registry: Registry, kind: Kind, resource: Resource, values: Iterable[Value]
) -> dict[tuple[str, int], Object]:
    """(key, revision) -> the object in the version of ``resource``; all are converted together, and cached entries
    once for everybody who asks. Do not change them. Raises ``StatusError`` (500)."""
    found: dict[tuple[str, int], Object] = {}
    tasks: set[asyncio.Task[None]] = set()
    slots: list[tuple[Value, _Slot]] = []
    missing: list[tuple[Value, _Slot]] = []
    for value in values:
        slot = _slot(value, resource)
        slots.append((value, slot))
        if slot.obj is not None:
            continue
        if slot.task is not None and not slot.task.done():
            tasks.add(slot.task)
        else:
            missing.append((value, slot))
    if missing:
        # A task of its own: others wait for it too, and go on waiting when this request ends.
        task = asyncio.create_task(_fill(registry, kind, resource, missing))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        for _, slot in missing:
            slot.task = task
        tasks.add(task)
    for task in tasks:
        await asyncio.shield(task)
    for value, slot in slots:
        if slot.obj is None:
            raise _failure(f"the conversion of {value.key} failed for another request")
        found[value.key, value.revision] = slot.obj
    return found


def _slot(value: Value, resource: Resource) -> _Slot:
    if isinstance(value, CachedEntry):
        return value.once(("conversion", resource.api_version), lambda _entry: _Slot())
    return _Slot()


async def _fill(
    registry: Registry, kind: Kind, resource: Resource, missing: Sequence[tuple[Value, _Slot]]
) -> None:
    objs = [
        value.object if isinstance(value, CachedEntry) else registry.decode(kind, value)
        for value, _ in missing
    ]
    for (_, slot), obj in zip(missing, await in_version(kind, resource, objs), strict=True):
        slot.obj = obj
