"""The roles and bindings every cluster begins with, made and kept up to date (B.21).

Source of the data: upstream's bootstrap policy, facts/rbac-bootstrap.json.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sublet.apiserver.authorization.authorizer import Rule
from sublet.apiserver.authorization.rbac import GROUP
from sublet.apiserver.authorization.rules import uncovered
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import codec, selectors
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, Conflict, NotFound

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
_DATA = Path(__file__).parent / "data" / "rbac-bootstrap.json"
_TRIES = 3


def objects() -> list[Object]:
    """The bootstrap objects, whole; aggregating roles already hold the rules that aggregation will give them."""
    rows: list[dict[str, Any]] = codec.decode_json(_DATA.read_bytes())
    made = [_object(row) for row in rows]
    roles = {obj["metadata"]["name"]: obj for obj in made if obj["kind"] == "ClusterRole"}
    for role in roles.values():
        if "aggregationRule" in role:
            role["rules"] = _aggregated(role, roles)
    return made


def node_rules() -> tuple[Rule, ...]:
    """The rules of the ClusterRole ``system:node``, which the Node authorizer applies."""
    return next(
        tuple(o["rules"]) for o in objects() if o["metadata"]["name"] == "system:node" and "rules" in o
    )


def _object(row: Mapping[str, Any]) -> Object:
    metadata: dict[str, Any] = {
        "name": row["name"],
        "labels": {**_LABEL, **(row.get("labels") or {})},
        "annotations": {AUTOUPDATE: "true"},
    }
    if row.get("namespace"):
        metadata["namespace"] = row["namespace"]
    obj: Object = {"apiVersion": f"{GROUP}/v1", "kind": row["kind"], "metadata": metadata}
    if row["kind"].endswith("Binding"):
        kind, _, name = row["roleRef"].partition("/")
        obj["roleRef"] = {"apiGroup": GROUP, "kind": kind, "name": name}
        if row.get("subjects"):
            obj["subjects"] = row["subjects"]
    else:
        if row.get("aggregationRule"):
            obj["aggregationRule"] = row["aggregationRule"]
        obj["rules"] = row.get("rules")
    return obj


def _aggregated(role: Object, roles: Mapping[str, Object], depth: int = 0) -> list[Rule]:
    """What the aggregation controller will write: rules of the roles selected, by name, each once."""
    chosen = [
        selectors.from_label_selector(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()
    ]
    found: list[Rule] = []
    for name in sorted(roles):
        other = roles[name]
        if other is role or not any(s.matches(other["metadata"]["labels"]) for s in chosen):
            continue
        rules = other.get("rules") or ()
        if "aggregationRule" in other and depth < 4:
            rules = _aggregated(other, roles, depth + 1)
        found.extend(rule for rule in rules if rule not in found)
    return found


async def reconcile(client: Client) -> int:
    """Makes what is missing and adds what was taken away, except where autoupdate is switched off.

    Returns how many objects were written. The namespaces kube-system and kube-public must exist.
    """
    wanted = objects()
    listed = await asyncio.gather(*(client.list(resource(f"{p}.{GROUP}")) for p in _PLURALS.values()))
    present = {_key(item): item for found in listed for item in found["items"]}
    written = await asyncio.gather(*(_one(client, obj, present.get(_key(obj))) for obj in wanted))
    return sum(written)


def _key(obj: Object) -> tuple[str, str, str]:
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", ""), metadata["name"]


async def _one(client: Client, wanted: Object, present: Object | None) -> bool:
    """Brings one object up to date; whether that took a write."""
    where = resource(f"{_PLURALS[wanted['kind']]}.{GROUP}")
    namespace, name = wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"]
    for _ in range(_TRIES):
        try:
            if present is None:
                await client.create(where, wanted, namespace)
                return True
            changed = _merged(present, wanted)
            if changed is None:
                return False
            if changed.get("roleRef") != present.get("roleRef"):
                # A binding's role cannot change: it is made anew, as upstream does.
                await client.delete(where, name, namespace, uid=present["metadata"]["uid"])
                present = None
                continue
            await client.update(where, changed)
            return True
        except (AlreadyExists, Conflict):
            present = await client.get(where, name, namespace)
        except NotFound:
            present = None
    return False


def _merged(present: Object, wanted: Object) -> Object | None:
    """The object to write, or None where it has everything already or does not want to be updated."""
    metadata = present["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get(AUTOUPDATE) == "false":
        return None
    changed = {**present, "metadata": dict(metadata)}
    changed["metadata"]["annotations"] = {**wanted["metadata"]["annotations"], **annotations}
    changed["metadata"]["labels"] = {**wanted["metadata"]["labels"], **(metadata.get("labels") or {})}
    if "roleRef" in wanted:
        have = present.get("subjects") or []
        missing = [s for s in wanted.get("subjects") or () if not _among(s, have)]
        changed["roleRef"] = wanted["roleRef"]
        if missing:
            changed["subjects"] = [*have, *missing]
    else:
        _merge_rules(changed, wanted)
    return None if changed == present else changed


def _merge_rules(role: Object, wanted: Object) -> None:
    """Adds what a role lacks. The rules of one that aggregates are the aggregation controller's to write."""
    has, wants = role.get("aggregationRule"), wanted.get("aggregationRule")
    if not has and not wants:
        rules = role.get("rules") or []
        if missing := uncovered(rules, wanted.get("rules") or ()):
            role["rules"] = [*rules, *missing]
    elif not wants:
        del role["aggregationRule"]
    else:
        chosen = (has or {}).get("clusterRoleSelectors") or []
        missing = [each for each in wants["clusterRoleSelectors"] if each not in chosen]
        role["aggregationRule"] = {**(has or {}), "clusterRoleSelectors": [*chosen, *missing]}


def _among(subject: Object, subjects: Iterable[Object]) -> bool:
    keys = ("kind", "name", "namespace")
    return any(all(s.get(k, "") == subject.get(k, "") for k in keys) for s in subjects)
