"""Who makes an admission policy read objects must be allowed to read them."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_front import BOB, RBAC, Front, front

__all__ = ["front"]

GROUP = "admissionregistration.k8s.io"
PATH = f"/apis/{GROUP}/v1"
POLICIES, BINDINGS = f"{PATH}/validatingadmissionpolicies", f"{PATH}/validatingadmissionpolicybindings"
KIND = {"apiVersion": "v1", "kind": "Secret"}
EVE = f"&{{bob {BOB.uid} [{' '.join(BOB.groups)}] map[]}}"


def policy(**spec: Any) -> dict[str, Any]:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    whole = {
        "matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}],
        "failurePolicy": "Ignore", **spec,
    }  # fmt: skip
    return {"metadata": {"name": "p"}, "spec": whole}


def binding(reference: dict[str, Any], name: str = "p") -> dict[str, Any]:
    whole = {"parameterNotFoundAction": "Deny", **reference}
    return {
        "metadata": {"name": "b"},
        "spec": {"policyName": name, "validationActions": ["Deny"], "paramRef": whole},
    }


async def may(front: Front, verbs: str, *names: str) -> None:
    """Lets bob write policies, and do this with Secrets."""
    rules = [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}]
    if verbs:
        rules.append({"apiGroups": [""], "resources": ["secrets"], "verbs": verbs.split(),
                      **({"resourceNames": list(names)} if names else {})})  # fmt: skip
    await front.create(f"{RBAC}/clusterroles", {"metadata": {"name": "writer"}, "rules": rules})
    await front.bind("writer", user="bob")


async def test_a_policy_needs_every_object_of_its_kind_of_parameters(front: Front) -> None:
    await may(front, "get", "one")
    answer = await front.ask("POST", POLICIES, policy(paramKind=KIND), user=BOB)
    assert answer.status == 422
    assert answer.json["details"]["causes"] == [
        {
            "reason": "FieldValueForbidden", "field": "spec.paramKind",
            "message": f'Forbidden: user {EVE} must have "get" permission on all objects of the referenced paramKind '
            "(kind=Secret, apiVersion=v1)",
        }
    ]  # fmt: skip
    assert (await front.ask("POST", POLICIES, policy(), user=BOB)).status == 201
    answer = await front.ask("PUT", f"{POLICIES}/p", policy(paramKind=KIND), user=BOB)
    assert answer.status == 422


async def test_who_may_read_them_may_and_what_stays_is_not_asked_again(front: Front) -> None:
    await front.create(POLICIES, policy(paramKind=KIND))
    await may(front, "")
    kept = policy(paramKind=KIND, failurePolicy="Fail")
    kept["metadata"]["resourceVersion"] = (await front.ask("GET", f"{POLICIES}/p")).json["metadata"][
        "resourceVersion"
    ]
    assert (await front.ask("PUT", f"{POLICIES}/p", kept, user=BOB)).status == 200
    other = {**policy(paramKind=KIND), "metadata": {"name": "q"}}
    assert (await front.ask("POST", POLICIES, other, user=BOB)).status == 422


@pytest.mark.parametrize(
    ("verbs", "reference", "verb"),
    [
        ("list", {"name": "one", "namespace": "default"}, "get"),
        ("get", {"selector": {}, "namespace": "default"}, "list"),
        ("get", {"selector": {}}, "list"),
    ],
)
async def test_a_binding_needs_what_it_refers_to(
    front: Front, verbs: str, reference: dict[str, Any], verb: str
) -> None:
    await front.create(POLICIES, policy(paramKind=KIND))
    await may(front, verbs)
    answer = await front.ask("POST", BINDINGS, binding(reference), user=BOB)
    assert answer.status == 422
    told = answer.json["details"]["causes"][0]
    assert told["field"] == "spec.paramRef"
    assert told["message"] == (
        f'Forbidden: user {EVE} does not have "{verb}" permission on the object referenced by paramRef'
    )
    other = {"name": "one", "namespace": "default"} if verb == "list" else {"selector": {}}
    assert (await front.ask("POST", BINDINGS, binding(other), user=BOB)).status == 201


async def test_a_binding_of_no_policy_needs_everything(front: Front) -> None:
    await may(front, "get list")
    answer = await front.ask("POST", BINDINGS, binding({"selector": {}}, "gone"), user=BOB)
    assert answer.status == 422
    assert answer.json["details"]["causes"][0]["message"] == (
        f"Forbidden: unable to get policy gone to determine minimum required permissions and user {EVE} does not have "
        '"list" permission for all groups, versions and resources'
    )
