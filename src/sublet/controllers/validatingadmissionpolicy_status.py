"""validatingadmissionpolicy-status-controller: tells in a policy's status which expressions do not fit the objects.

Expressions of policies see any kind, so they are compiled when stored without knowing its fields. Here they are checked
against the schemas of the kinds that the policy's rules name; what does not fit is a warning, never a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sublet.client.client import Client
from sublet.kinds import schemas
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

_POLICIES = resource("validatingadmissionpolicies.admissionregistration.k8s.io")
_MANAGER = "validatingadmissionpolicy-status"
_MOST_KINDS = 10
"""Kinds that one policy is checked against."""

GroupVersionKind = tuple[str, str, str]


def named(kind: GroupVersionKind) -> str:
    """As warnings name a kind: ``apps/v1, Kind=Deployment``."""
    group, version, name = kind
    return f"{group}/{version}, Kind={name}"


def places(rules: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(group, version, plural) that the rules name one by one; a rule with a wildcard group or version names none."""
    for rule in rules:
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in text for text in (*groups, *versions)):
            continue
        for group in sorted(groups):
            for version in sorted(versions):
                for plural in sorted(rule.get("resources") or ()):
                    if "*" not in plural and "/" not in plural:
                        yield group, version, plural


def warnings(
    policy: Object, kinds: Mapping[GroupVersionKind, Schema], params: Schema | None
) -> list[dict[str, str]]:
    """``status.typeChecking.expressionWarnings``: one per expression, with what each kind makes of it."""
    found = []
    spec = policy.get("spec") or {}
    for index, validation in enumerate(spec.get("validations") or ()):
        for key in ("expression", "messageExpression"):
            text = str(validation.get(key) or "")
            if not text:
                continue
            told = [
                f"{named(kind)}: {issue}\n"
                for kind, schema in sorted(kinds.items(), key=lambda item: item[0])
                if (issue := _issue(spec, text, kind[2], schema, params))
            ]
            if told:
                found.append({"fieldRef": f"spec.validations[{index}].{key}", "warning": "\n".join(told)})
    return found


def _issue(spec: Mapping[str, Any], text: str, kind: str, schema: Schema, params: Schema | None) -> str:
    from sublet.machinery.cel.admission import environments
    from sublet.machinery.cel.errors import CompileError
    from sublet.machinery.cel.schematypes import of_schema
    from sublet.machinery.cel.types import DYN, Type

    seen = of_schema(schema, kind) or DYN
    shapes = {"object": seen, "oldObject": seen}
    if params is not None:
        shapes["params"] = of_schema(params, str((spec.get("paramKind") or {}).get("kind"))) or DYN
    variables: dict[str, Type] = {}
    for each in spec.get("variables") or ():
        environment = environments().policy(params is not None, variables, shapes=shapes)
        try:
            variables[str(each.get("name"))] = environment.compile(str(each.get("expression"))).type
        except CompileError:
            variables[str(each.get("name"))] = DYN
    try:
        environments().policy(params is not None, variables, shapes=shapes).compile(text)
    except CompileError as error:
        return str(error)
    return ""


class Kinds:
    """The schemas of what the API serves: built-in kinds from their definitions, others as they are published."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._minor = ""

    async def of_rules(self, rules: Sequence[Mapping[str, Any]]) -> dict[GroupVersionKind, Schema]:
        """Of the kinds that rules name, as far as they are served."""
        found: dict[GroupVersionKind, Schema] = {}
        for group, version, plural in places(rules):
            kind = await self._kind(group, version, plural)
            schema = await self.schema(group, version, kind) if kind else None
            if schema is not None:
                found[group, version, kind] = schema
            if len(found) >= _MOST_KINDS:
                break
        return found

    async def schema(self, group: str, version: str, kind: str) -> Schema | None:
        if not self._minor:
            stated = await self._json("/version")
            self._minor = f"{stated.get('major')}.{stated.get('minor')}"
        built_in = schemas.definition(self._minor, group, version, kind)
        if built_in is not None:
            return built_in
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        components = (await self._json(f"/openapi/v3/{path}")).get("components") or {}
        documents: Mapping[str, Any] = components.get("schemas") or {}
        wanted = {"group": group, "version": version, "kind": kind}
        for document in documents.values():
            if wanted in (document.get("x-kubernetes-group-version-kind") or ()):
                return Schema(document, documents)
        return None

    async def _kind(self, group: str, version: str, plural: str) -> str:
        listed = await self._json(f"/apis/{group}/{version}" if group else f"/api/{version}")
        rows = listed.get("resources") or ()
        return next((str(row["kind"]) for row in rows if row.get("name") == plural), "")

    async def _json(self, path: str) -> Object:
        """A document, empty where there is none."""
        response = await self._client.raw("GET", path, headers={"accept": "application/json"})
        body = response.body
        if response.status != 200 or not isinstance(body, bytes):
            return {}
        document = codec.decode_json(body)
        return document if isinstance(document, dict) else {}


def setup(context: Context) -> Controller:
    policies = context.informers.informer(_POLICIES)
    kinds = Kinds(context.client)

    async def reconcile(name: str) -> None:
        policy = policies.get("", name)
        if policy is None or objects.is_deleting(policy):
            return
        generation = int(policy["metadata"].get("generation") or 0)
        if generation <= int((policy.get("status") or {}).get("observedGeneration") or 0):
            return
        spec = policy.get("spec") or {}
        rules = (spec.get("matchConstraints") or {}).get("resourceRules") or ()
        params = None
        if stated := spec.get("paramKind"):
            group, _, version = str(stated.get("apiVersion") or "").rpartition("/")
            params = await kinds.schema(group, version, str(stated.get("kind") or ""))
        found = await asyncio.to_thread(warnings, policy, await kinds.of_rules(rules), params)
        checked = {"expressionWarnings": found} if found else {}
        applied = {
            "apiVersion": _POLICIES.api_version,
            "kind": _POLICIES.kind,
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        }
        try:
            await context.client.patch(
                _POLICIES,
                name,
                applied,
                kind="apply",
                subresource="status",
                field_manager=_MANAGER,
                force=True,
            )
        except NotFound:
            return

    controller = Controller(f"{_MANAGER}-controller", reconcile)
    policies.add_handler(lambda _event, policy, _old: controller.enqueue(objects.name(policy)))
    return controller


CONTROLLER = Registration(f"{_MANAGER}-controller", setup, needs=(_POLICIES,))
