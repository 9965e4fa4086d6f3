"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy over a whole API server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import Invalid, StatusError

GROUP = "admissionregistration.k8s.io"
POLICIES, BINDINGS = (
    resource(f"validatingadmissionpolicies.{GROUP}"), resource(f"validatingadmissionpolicybindings.{GROUP}"),
)  # fmt: skip
MUTATING, MUTATING_BINDINGS = (
    resource(f"mutatingadmissionpolicies.{GROUP}"), resource(f"mutatingadmissionpolicybindings.{GROUP}"),
)  # fmt: skip
MAPS, DEPLOYMENTS, NAMESPACES = resource("configmaps"), resource("deployments.apps"), resource("namespaces")
ON_MAPS: Object = {
    "resourceRules": [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["configmaps"],
            "operations": ["CREATE", "UPDATE"],
        }
    ]
}
ON_DEPLOYMENTS: Object = {
    "resourceRules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
    ]
}
MAKE = Callable[..., Object]
Bind = Callable[..., Awaitable[None]]


def deployment(name: str = "web", **spec: Any) -> Object:
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
            **spec,
        },
    }


@pytest.fixture
def validating(client: Client) -> Bind:
    """Creates a policy of ConfigMaps and a binding of it."""
    numbers = itertools.count()

    async def make(binding: Object | None = None, **spec: Any) -> None:
        name = f"policy-{next(numbers)}"
        await client.create(
            POLICIES, {"metadata": {"name": name}, "spec": {"matchConstraints": ON_MAPS, **spec}}
        )
        bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
        await client.create(BINDINGS, {"metadata": {"name": f"{name}-binding"}, "spec": bound})

    return make


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("object.metadata.name.startsWith(params.metadata.name)",
         "expression 'object.metadata.name.startsWith(params.metadata.name)' resulted in error: no such key: metadata"),
        ("has(params.metadata) && object.metadata.name == params.metadata.name",
         "failed expression: has(params.metadata) && object.metadata.name == params.metadata.name"),
        ("params != null && object.metadata.name.endsWith(params.metadata.name)",
         "failed expression: params != null && object.metadata.name.endsWith(params.metadata.name)"),
        ("has(params.metadata) || params == null", ""),
    ],
)  # fmt: skip
async def test_parameters_that_a_binding_does_not_name_are_null(
    client: Client, validating: Bind, make_config_map: MAKE, expression: str, why: str
) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await validating(paramKind=kind, validations=[{"expression": expression}])
    if not why:
        await client.create(MAPS, make_config_map())
        return
    with pytest.raises(StatusError) as refused:
        await client.create(MAPS, make_config_map())
    assert refused.value.message.endswith(f"with binding 'policy-0-binding' denied request: {why}")


async def test_a_name_that_the_server_makes_is_there_for_those_that_validate(
    client: Client, validating: Bind
) -> None:
    where = {"resourceRules": [{**ON_MAPS["resourceRules"][0], "resources": ["namespaces"]}]}
    await validating(
        matchConstraints=where,
        validations=[{"expression": "object.metadata.name.startsWith('good-') && !has(request.name)"}],
    )
    await client.create(NAMESPACES, {"metadata": {"generateName": "good-"}})
    with pytest.raises(StatusError, match=r'^namespaces "bad-[a-z0-9]{5}" is forbidden: '):
        await client.create(NAMESPACES, {"metadata": {"generateName": "bad-"}})


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"validations": [{"expression": "object.spec.paused"}]}, "must evaluate to bool but got dyn"),
        ({"validations": [{"expression": "[1]"}]}, "must evaluate to bool but got list(int)"),
        ({"validations": [{"expression": "true", "messageExpression": "null"}]}, "must evaluate to string but got null_type"),
        ({"auditAnnotations": [{"key": "a", "valueExpression": "true"}]}, "must evaluate to one of [string null_type] but got bool"),
        ({"auditAnnotations": [{"key": "a", "valueExpression": "dyn('a')"}]}, "must evaluate to one of [string null_type] but got dyn"),
    ],
)  # fmt: skip
async def test_an_expression_must_be_known_to_have_the_right_type(
    validating: Bind, spec: Object, why: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await validating(**spec)
    assert refused.value.causes[0].message.endswith(f": {why}")


@pytest.fixture
def mutating(client: Client) -> Bind:
    """Creates a mutating policy of Deployments, bound everywhere."""
    numbers = itertools.count()

    async def make(expression: str, *, patch: bool = False, **spec: Any) -> None:
        name = f"mutating-{next(numbers)}"
        key, kind = ("jsonPatch", "JSONPatch") if patch else ("applyConfiguration", "ApplyConfiguration")
        await client.create(
            MUTATING,
            {
                "metadata": {"name": name},
                "spec": {
                    "matchConstraints": ON_DEPLOYMENTS,
                    "reinvocationPolicy": "Never",
                    "mutations": [{"patchType": kind, key: {"expression": expression}}],
                    **spec,
                },
            },
        )
        await client.create(
            MUTATING_BINDINGS, {"metadata": {"name": f"{name}-binding"}, "spec": {"policyName": name}}
        )

    return make


async def test_a_false_validation_refuses_with_its_message(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        validations=[
            {
                "expression": "'owner' in object.data",
                "messageExpression": "'no owner in ' + object.metadata.name",
            }
        ]
    )
    with pytest.raises(Invalid) as refused:
        await client.create(MAPS, make_config_map(a="1"))
    assert refused.value.message == (
        "configmaps \"settings\" is forbidden: ValidatingAdmissionPolicy 'policy-0' with binding 'policy-0-binding' "
        "denied request: no owner in settings"
    )
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    await client.create(MAPS, make_config_map(owner="me"))


async def test_the_default_message_names_the_expression_and_the_reason_sets_the_code(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(validations=[{"expression": "has(object.data.owner)", "reason": "Forbidden"}])
    with pytest.raises(
        StatusError, match=r"denied request: failed expression: has\(object\.data\.owner\)"
    ) as refused:
        await client.create(MAPS, make_config_map(a="1"))
    assert refused.value.code == 403


async def test_variables_are_evaluated_when_used(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        variables=[
            {"name": "count", "expression": "int(object.data.count)"},
            {"name": "odd", "expression": "variables.count % 2 == 1"},
        ],
        validations=[{"expression": "variables.odd"}],
    )
    await client.create(MAPS, make_config_map(count="3"))
    with pytest.raises(Invalid, match=r"failed expression: variables\.odd"):
        await client.create(MAPS, make_config_map("even", count="2"))


async def test_an_error_refuses_or_is_ignored_by_failure_policy(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(failurePolicy="Ignore", validations=[{"expression": "object.data.missing == 'x'"}])
    await client.create(MAPS, make_config_map("tolerated", a="1"))
    await validating(validations=[{"expression": "object.data.missing == 'x'"}])
    with pytest.raises(Invalid, match="resulted in error: no such key: missing"):
        await client.create(MAPS, make_config_map(a="1"))


async def test_match_conditions_and_selectors_exempt(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        binding={"matchResources": {"namespaceSelector": {"matchLabels": {"guarded": "yes"}}}},
        matchConditions=[
            {"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:')"}
        ],
        validations=[{"expression": "false"}],
    )
    await client.create(MAPS, make_config_map("free"))
    await client.create(NAMESPACES, {"metadata": {"name": "guarded", "labels": {"guarded": "yes"}}})
    with pytest.raises(Invalid):
        await client.create(MAPS, make_config_map("held", "guarded"))


async def test_params_are_read_from_the_object_the_binding_names(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    spec: Object = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "others", "expression": "object.metadata.name != 'limits'"}],
        "validations": [{"expression": "int(object.data.size) <= int(params.data.most)"}],
    }
    reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await validating(binding={"paramRef": reference}, **spec)
    with pytest.raises(
        Invalid, match="no params found for policy binding with `Deny` parameterNotFoundAction"
    ):
        await client.create(MAPS, make_config_map(size="3"))
    # A policy cannot keep its own parameters from being made: the binding is deleted for the while.
    await client.delete(BINDINGS, "policy-0-binding")
    await client.create(MAPS, make_config_map("limits", most="5"))
    await client.create(
        BINDINGS,
        {
            "metadata": {"name": "again"},
            "spec": {"policyName": "policy-0", "validationActions": ["Deny"], "paramRef": reference},
        },
    )
    await client.create(MAPS, make_config_map(size="3"))
    with pytest.raises(Invalid):
        await client.create(MAPS, make_config_map("great", size="7"))


async def test_missing_params_can_be_allowed(client: Client, validating: Bind, make_config_map: MAKE) -> None:
    reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Allow"}
    await validating(
        binding={"paramRef": reference},
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        validations=[{"expression": "params.data.no == 'never'"}],
    )
    await client.create(MAPS, make_config_map())


async def test_the_authorizer_answers_for_the_requesting_user(
    api: APIServer, client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        validations=[
            {
                "expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"
            },
            {"expression": "authorizer.requestResource.check('create').allowed()"},
            {
                "expression": "!authorizer.serviceAccount('default', 'default').path('/metrics').check('get').allowed()"
            },
        ]
    )
    await client.create(MAPS, make_config_map())
    role: Object = {
        "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
    }
    rbac = "rbac.authorization.k8s.io"
    await client.create(resource(f"clusterroles.{rbac}"), role)
    await client.create(
        resource(f"clusterrolebindings.{rbac}"),
        {
            "metadata": {"name": "maps"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "maps"},
            "subjects": [{"kind": "User", "name": "ann", "apiGroup": rbac}],
        },
    )
    ann = api.client_as(User("ann", ("system:authenticated",)), "tester")
    with pytest.raises(Invalid, match=r"failed expression: authorizer\.group"):
        await ann.create(MAPS, make_config_map("anns"))


async def test_the_namespace_is_an_object_too(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(validations=[{"expression": "namespaceObject.metadata.name == 'kube-system'"}])
    await client.create(MAPS, make_config_map("fine", "kube-system"))
    with pytest.raises(Invalid):
        await client.create(MAPS, make_config_map())


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("object.spec.", "Syntax error"),
        ("nothing == 1", r"undeclared reference to 'nothing'"),
        ("1 + 1", "must evaluate to bool"),
        ("request.nothing == ''", "undefined field 'nothing'"),
        ("params.data.x == ''", "undeclared reference to 'params'"),
        ("namespaceObject.metadata.owner == ''", "undefined field 'owner'"),
    ],
)
async def test_a_policy_that_does_not_compile_is_refused(client: Client, expression: str, why: str) -> None:
    spec = {"matchConstraints": ON_MAPS, "validations": [{"expression": expression}]}
    with pytest.raises(
        Invalid,
        match=rf"spec\.validations\[0\]\.expression: Invalid value: .*: (compilation failed: )?(.|\n)*{why}",
    ):
        await client.create(POLICIES, {"metadata": {"name": "broken"}, "spec": spec})


async def test_long_expressions_do_not_hold_others_up(client: Client, make_config_map: MAKE) -> None:
    """Compiling them takes seconds; meanwhile others are answered."""
    long = f"[{', '.join(str(n % 10) for n in range(30_000))}].size() > 1"
    spec = {
        "matchConstraints": ON_MAPS,
        "validations": [{"expression": f"{long} || {n} > 1"} for n in range(4)],
    }
    creating = asyncio.ensure_future(client.create(POLICIES, {"metadata": {"name": "long"}, "spec": spec}))
    answered = 0
    while not creating.done():
        await client.get(NAMESPACES, "default")
        await asyncio.sleep(0)
        answered += 1
    assert (await creating)["metadata"]["name"] == "long"
    assert answered > 10


async def test_messages_may_not_ask_the_authorizer(client: Client) -> None:
    message = "authorizer.path('/').check('get').reason()"
    spec = {
        "matchConstraints": ON_MAPS,
        "validations": [{"expression": "true", "messageExpression": message}],
    }
    with pytest.raises(
        Invalid, match=r"messageExpression: Invalid value: (.|\n)*undeclared reference to 'authorizer'"
    ):
        await client.create(POLICIES, {"metadata": {"name": "broken"}, "spec": spec})


async def test_a_costly_expression_is_stopped(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    numbers = str(list(range(60)))
    expression = "true"
    for depth in range(5):
        expression = f"{numbers}.all(v{depth}, {expression})"
    await validating(validations=[{"expression": expression}])
    with pytest.raises(Invalid, match="operation cancelled: actual cost limit exceeded"):
        await client.create(MAPS, make_config_map())


async def test_a_costly_expression_may_ask_the_authorizer(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    numbers = str(list(range(100)))
    await validating(
        validations=[
            {
                "expression": f"{numbers}.all(a, {numbers}.all(b, a + b >= 0)) && "
                "authorizer.requestResource.check('create').allowed()"
            }
        ]
    )
    await client.create(MAPS, make_config_map())


async def test_policies_do_not_guard_policies(client: Client, validating: Bind) -> None:
    everything = {
        "resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]
    }
    await validating(matchConstraints=everything, validations=[{"expression": "false"}])
    await client.delete(BINDINGS, "policy-0-binding")
    await client.delete(POLICIES, "policy-0")


async def test_a_configuration_is_laid_over_the_object(client: Client, mutating: Bind) -> None:
    await mutating(
        "Object{metadata: Object.metadata{annotations: {'by': 'policy'}}, spec: Object.spec{replicas: 3, "
        "template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
        "Object.spec.template.spec.containers{name: 'main', imagePullPolicy: 'Never'}, "
        "Object.spec.template.spec.containers{name: 'proxy', image: 'envoy'}]}}}}"
    )
    made = await client.create(DEPLOYMENTS, deployment())
    assert (made["spec"]["replicas"], made["metadata"]["annotations"]) == (3, {"by": "policy"})
    main, proxy = made["spec"]["template"]["spec"]["containers"]
    assert (main["image"], main["imagePullPolicy"]) == ("nginx", "Never")
    assert (proxy["image"], proxy["terminationMessagePath"]) == ("envoy", "/dev/termination-log")


async def test_a_json_patch_changes_the_object(client: Client, mutating: Bind) -> None:
    await mutating(
        "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'add', path: '/metadata/labels', "
        "value: {}}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/team'), value: 'x'}]",
        patch=True,
    )
    made = await client.create(DEPLOYMENTS, deployment())
    assert made["metadata"]["labels"] == {"example.com/team": "x"}


@pytest.mark.parametrize(
    ("expression", "patch"),
    [
        ("Object{spec: Object.spec{replicas: object.spec.replicas + 4}}", False),
        ("[JSONPatch{op: 'replace', path: '/spec/replicas', value: object.spec.replicas + 4}]", True),
    ],
)
async def test_a_policy_may_change_a_scale(
    client: Client, mutating: Bind, expression: str, patch: bool
) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["*/scale"]}
    await client.create(DEPLOYMENTS, deployment())
    await mutating(expression, patch=patch, matchConstraints={"resourceRules": [rule]})
    scaled = await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "default", subresource="scale")
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 7})
    assert (await client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 7


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("Object{spec: Object.spec{paused: true}}", "paused: field not declared in schema"),
        ("Object{spec: Object.spec{replicas: -1}}", "must be greater than or equal to 0"),
    ],
)
async def test_what_a_policy_makes_of_a_scale_must_be_one(
    client: Client, mutating: Bind, expression: str, why: str
) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["*/scale"]}
    await client.create(DEPLOYMENTS, deployment())
    await mutating(expression, matchConstraints={"resourceRules": [rule]})
    with pytest.raises(StatusError, match=why):
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "default", subresource="scale")


async def test_a_configuration_may_not_change_atomic_lists(client: Client, mutating: Bind) -> None:
    await mutating(
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
        "Object.spec.template.spec.containers{name: 'main', args: ['x']}]}}}}"
    )
    with pytest.raises(StatusError, match="may not mutate atomic arrays, maps or structs"):
        await client.create(DEPLOYMENTS, deployment())


async def test_types_must_be_named_after_their_place(client: Client, mutating: Bind) -> None:
    await mutating("Object{spec: Object.status{replicas: 3}}")
    with pytest.raises(StatusError, match=r'unexpected type name "Object\.status", expected "Object\.spec"'):
        await client.create(DEPLOYMENTS, deployment())


async def test_an_optional_field_is_left_out(client: Client, mutating: Bind) -> None:
    await mutating("Object{spec: Object.spec{?replicas: optional.none(), paused: true}}")
    made = await client.create(DEPLOYMENTS, deployment(replicas=4))
    assert (made["spec"]["replicas"], made["spec"]["paused"]) == (4, True)


PAUSED = "has(object.spec.paused) && object.spec.paused"


@pytest.mark.parametrize(("policy", "replicas"), [("IfNeeded", 5), ("Never", 1)])
async def test_a_policy_that_asks_for_it_sees_what_later_ones_changed(
    client: Client, mutating: Bind, policy: str, replicas: int
) -> None:
    await mutating(
        f"Object{{spec: Object.spec{{replicas: {PAUSED} ? 5 : object.spec.replicas}}}}",
        reinvocationPolicy=policy,
    )
    await mutating("Object{spec: Object.spec{paused: true}}")
    made = await client.create(DEPLOYMENTS, deployment())
    assert made["spec"]["replicas"] == replicas


async def test_a_policy_that_was_not_concerned_is_not_invoked_again(client: Client, mutating: Bind) -> None:
    await mutating(
        "Object{spec: Object.spec{replicas: 5}}", reinvocationPolicy="IfNeeded",
        matchConditions=[{"name": "paused", "expression": PAUSED}],
    )  # fmt: skip
    await mutating("Object{spec: Object.spec{paused: true}}")
    made = await client.create(DEPLOYMENTS, deployment())
    assert made["spec"]["replicas"] == 1


async def test_a_mutation_that_fails_refuses_with_every_error(client: Client, mutating: Bind) -> None:
    await mutating("Object{spec: Object.spec{replicas: int('no number')}}")
    await mutating(
        "Object{spec: Object.spec{replicas: 3}}",
        paramKind={"apiVersion": "no.example.com/v1", "kind": "Gone"},
    )
    await mutating("Object{spec: Object.spec{replicas: int('ignored')}}", failurePolicy="Ignore")
    with pytest.raises(StatusError) as refused:
        await client.create(DEPLOYMENTS, deployment())
    first = (
        "policy 'mutating-0' with binding 'mutating-0-binding' denied request: expression 'Object{spec: Object.spec"
        "{replicas: int('no number')}}' resulted in error: "
    )
    second = (
        'policy "mutating-1" denied request: failed to configure policy: failed to find resource referenced by '
        "paramKind: 'no.example.com/v1, Kind=Gone'"
    )
    assert refused.value.message.startswith(first)
    assert (refused.value.code, refused.value.reason, refused.value.name) == (403, "Invalid", "web")
    assert [cause.message for cause in refused.value.causes] == [refused.value.message, second]


async def test_a_refusal_is_its_own_cause(client: Client, validating: Bind, make_config_map: MAKE) -> None:
    await validating(validations=[{"expression": "false", "message": " no "}])
    with pytest.raises(Invalid) as refused:
        await client.create(MAPS, make_config_map())
    text = "ValidatingAdmissionPolicy 'policy-0' with binding 'policy-0-binding' denied request: no"
    assert refused.value.message == f'configmaps "settings" is forbidden: {text}'
    assert [(cause.reason, cause.message) for cause in refused.value.causes] == [("", text)]


async def test_a_policy_that_cannot_be_configured_denies_whatever_its_binding_asks_for(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        binding={"validationActions": ["Warn"]}, validations=[{"expression": "true"}],
        paramKind={"apiVersion": "no.example.com/v1", "kind": "Gone"},
    )  # fmt: skip
    with pytest.raises(Invalid) as refused:
        await client.create(MAPS, make_config_map())
    assert refused.value.message == (
        "configmaps \"settings\" is forbidden: ValidatingAdmissionPolicy 'policy-0' denied request: failed to configure "
        "policy: failed to find resource referenced by paramKind: 'no.example.com/v1, Kind=Gone'"
    )


async def test_an_error_in_a_match_condition_has_the_actions_of_the_binding(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        binding={"validationActions": ["Warn"]}, validations=[{"expression": "true"}],
        matchConditions=[{"name": "broken", "expression": "object.data.missing == 'x'"}],
    )  # fmt: skip
    body = codec.encode_json({"apiVersion": "v1", "kind": "ConfigMap", **make_config_map(a="1")})
    response = await client.raw("POST", MAPS.path("default"), body=body)
    assert response.status == 201
    assert (
        "expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
        in response.header("warning")
    )


async def test_costs_of_all_validations_are_bounded_together(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    numbers = str(list(range(60)))
    costly = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, a + b + c >= 0)))"
    await validating(validations=[{"expression": f"{costly} && {index} >= 0"} for index in range(20)])
    with pytest.raises(
        Invalid, match="validation failed due to running out of cost budget, no further validation"
    ):
        await client.create(MAPS, make_config_map())


async def test_configurations_of_webhooks_are_guarded_by_policies(client: Client, validating: Bind) -> None:
    rules = {"apiGroups": [GROUP], "apiVersions": ["v1"], "resources": ["*"], "operations": ["*"]}
    await validating(matchConstraints={"resourceRules": [rules]}, validations=[{"expression": "false"}])
    with pytest.raises(Invalid, match="denied request: failed expression: false"):
        await client.create(
            resource(f"validatingwebhookconfigurations.{GROUP}"), {"metadata": {"name": "hooks"}}
        )


async def test_the_namespace_shows_neither_owners_nor_managers(
    client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        validations=[
            {"expression": "namespaceObject != null && namespaceObject.status.phase == 'Active'"},
            {"expression": "namespaceObject.metadata.creationTimestamp < timestamp('2999-01-01T00:00:00Z')"},
        ]
    )
    await client.create(MAPS, make_config_map())


async def test_refusals_are_counted(
    api: APIServer, client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(validations=[{"expression": "false"}])
    with pytest.raises(Invalid):
        await client.create(MAPS, make_config_map())
    labels = (
        'enforcement_action="deny",error_type="no_error",policy="policy-0",policy_binding="policy-0-binding"'
    )
    lines = list(api.policies.metrics.lines())
    assert f"apiserver_validating_admission_policy_check_total{{{labels}}} 1" in lines
    assert f"apiserver_validating_admission_policy_check_duration_seconds_count{{{labels}}} 1" in lines


async def test_match_conditions_of_webhooks_must_compile(client: Client) -> None:
    webhook = {
        "name": "a.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "matchConditions": [{"name": "broken", "expression": "..."}],
    }  # fmt: skip
    with pytest.raises(Invalid, match="compilation failed"):
        await client.create(
            resource(f"validatingwebhookconfigurations.{GROUP}"),
            {"metadata": {"name": "hooks"}, "webhooks": [webhook]},
        )


async def test_actions_warn_and_annotate_without_refusing(
    api: APIServer, client: Client, validating: Bind, make_config_map: MAKE
) -> None:
    await validating(
        binding={"validationActions": ["Warn", "Audit"]},
        validations=[{"expression": "false", "message": "mind this"}],
        auditAnnotations=[{"key": "size", "valueExpression": "string(size(object.data))"}],
    )
    body = codec.encode_json({"apiVersion": "v1", "kind": "ConfigMap", **make_config_map(a="1")})
    response = await client.raw("POST", MAPS.path("default"), body=body)
    assert response.status == 201
    warning = "Validation failed for ValidatingAdmissionPolicy 'policy-0' with binding 'policy-0-binding': mind this"
    assert warning in response.header("warning")


async def test_each_parameter_is_a_mutation_of_its_own(
    client: Client, mutating: Bind, make_config_map: MAKE
) -> None:
    for name, key in (("one", "a"), ("two", "b")):
        extra = make_config_map(name, key=key)
        extra["metadata"]["labels"] = {"extra": "yes"}
        await client.create(MAPS, extra)
    await mutating(
        "Object{metadata: Object.metadata{annotations: {params.data.key: 'set'}}}",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    )
    binding = await client.get(MUTATING_BINDINGS, "mutating-0-binding")
    binding["spec"]["paramRef"] = {
        "selector": {"matchLabels": {"extra": "yes"}}, "namespace": "default", "parameterNotFoundAction": "Deny",
    }  # fmt: skip
    await client.update(MUTATING_BINDINGS, binding)
    made = await client.create(DEPLOYMENTS, deployment())
    assert made["metadata"]["annotations"] == {"a": "set", "b": "set"}


COUNTED = 'Object{metadata: Object.metadata{annotations: {?"n": optional.of(string(int(object.metadata.annotations["n"]) + 1))}}}'
OF_PARAMETERS = "Object{metadata: Object.metadata{annotations: params.data}}"


def on(resource_name: str) -> Object:
    return {
        "resourceRules": [{**ON_MAPS["resourceRules"][0], "resources": [resource_name], "operations": ["*"]}]
    }


async def change(
    client: Client, name: str, *expressions: str, again: bool = False, where: Object | None = None,
    bound: Object | None = None, **spec: Any,
) -> None:  # fmt: skip
    """A mutating policy of ConfigMaps, if nothing else is said, with its binding."""
    mutations = [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}
        if text.startswith("[")
        else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}
        for text in expressions
    ]
    made = {
        "matchConstraints": where or ON_MAPS, "mutations": mutations,
        "reinvocationPolicy": "IfNeeded" if again else "Never", **spec,
    }  # fmt: skip
    await client.create(MUTATING, {"metadata": {"name": name}, "spec": made})
    binding = {"policyName": name, **({} if bound is None else {"paramRef": bound})}
    await client.create(MUTATING_BINDINGS, {"metadata": {"name": name}, "spec": binding})


async def test_policies_that_want_it_are_asked_once_more_after_others(
    client: Client, make_config_map: MAKE
) -> None:
    for name, again in (("policy-1", True), ("policy-2", True), ("policy-3", False)):
        await change(
            client,
            name,
            COUNTED,
            f'Object{{metadata: Object.metadata{{annotations: {{"{name}": "yes"}}}}}}',
            again=again,
        )
    body = make_config_map()
    body["metadata"]["annotations"] = {"n": "0"}
    made = await client.create(MAPS, body)
    assert made["metadata"]["annotations"] == {
        "n": "5",
        "policy-1": "yes",
        "policy-2": "yes",
        "policy-3": "yes",
    }


async def test_each_parameter_is_asked_once_more_after_others(client: Client, make_config_map: MAKE) -> None:
    for name, labels in (("one", {"all": "true"}), ("two", {"all": "true"}), ("three", {})):
        body = make_config_map(**{name: "true"})
        body["metadata"].update(name=name, labels=labels)
        await client.create(MAPS, body)
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    every = {"selector": {"matchLabels": {"all": "true"}}, "parameterNotFoundAction": "Allow"}
    await change(client, "a", OF_PARAMETERS, COUNTED, again=True, paramKind=kind, bound=every)
    third = {"name": "three", "parameterNotFoundAction": "Allow"}
    await change(client, "b", OF_PARAMETERS, COUNTED, paramKind=kind, bound=third)
    body = make_config_map()
    body["metadata"].update(name="last", annotations={"n": "0"})
    made = await client.create(MAPS, body)
    assert made["metadata"]["annotations"] == {"n": "5", "one": "true", "two": "true", "three": "true"}


async def test_mutations_of_a_policy_see_what_those_before_did(client: Client, make_config_map: MAKE) -> None:
    await change(
        client, "p",
        'Object{metadata: Object.metadata{annotations: {"foo1": variables.foo1}}}',
        '[JSONPatch{op: "test", path: "/metadata/annotations", value: {"foo1": variables.foo1}},'
        ' JSONPatch{op: "add", path: "/metadata/annotations/foo2", value: variables.foo2}]',
        'Object{metadata: Object.metadata{annotations: {"foo3": "foo3Value"}}}',
        variables=[
            {"name": "foo1", "expression": '"foo1" + "Value"'},
            {"name": "foo2", "expression": 'variables.foo1.replace("1", "2")'},
        ],
    )  # fmt: skip
    made = await client.create(MAPS, make_config_map())
    assert made["metadata"]["annotations"] == {"foo1": "foo1Value", "foo2": "foo2Value", "foo3": "foo3Value"}


async def test_the_status_can_be_changed_by_a_policy_of_the_subresource(client: Client) -> None:
    condition = 'Object.status.conditions{type: "NamespaceDeletionContentFailure", message: "mutated"}'
    await change(
        client,
        "p",
        f"Object{{status: Object.status{{conditions: [{condition}]}}}}",
        where=on("namespaces/status"),
    )
    made = await client.create(NAMESPACES, {"metadata": {"name": "changed"}})
    stated = {"type": "NamespaceDeletionContentFailure", "status": "Unknown", "lastTransitionTime": None}
    made["status"]["conditions"] = [stated]
    updated = await client.update_status(NAMESPACES, made)
    assert updated["status"]["phase"] == "Active"
    assert [{k: v for k, v in c.items() if v} for c in updated["status"]["conditions"]] == [
        {"type": "NamespaceDeletionContentFailure", "status": "Unknown", "message": "mutated"}
    ]


async def test_what_a_policy_makes_badly_is_passed_over_where_it_may_fail(
    client: Client, make_config_map: MAKE
) -> None:
    await change(client, "p", 'Object{spec: Object.spec{invalid: "x"}}', failurePolicy="Ignore")
    assert "spec" not in await client.create(MAPS, make_config_map())


async def test_a_policy_that_is_about_some_objects_leaves_the_others(
    client: Client, make_config_map: MAKE
) -> None:
    for name, of in (("a", "production"), ("b", "test")):
        await change(
            client, name, f'Object{{metadata: Object.metadata{{labels: {{"applied": "{name}"}}}}}}',
            matchConditions=[{"name": "some", "expression": f'object.metadata.?labels["of"] == optional.of("{of}")'}],
        )  # fmt: skip
    for of, applied in (("production", "a"), ("test", "b"), ("other", None)):
        body = make_config_map()
        body["metadata"].update(name=of, labels={"of": of})
        made = await client.create(MAPS, body)
        assert made["metadata"]["labels"].get("applied") == applied
