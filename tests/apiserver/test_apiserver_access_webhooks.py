"""Webhooks that know tokens, and webhooks that authorize: asked by kubeconfig, over real TLS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from apiserver_front import BOB, Answer, Front, running
from apiserver_webhook_server import WebhookServer

from sublet.apiserver.access import AuthorizationSettings
from sublet.apiserver.authentication.webhook import TokenWebhookSettings
from sublet.apiserver.authorization import configuration
from sublet.client.exchange import User
from sublet.machinery.settings import ConfigurationError
from sublet.pki.authority import Authority

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}


class Remote:
    """The webhook's side: a status for whatever is asked."""

    def __init__(self, server: WebhookServer, directory: Path) -> None:
        self.asked: list[Any] = []
        self.status: Any = {}
        self.code = 200
        self.file = directory / "webhook.kubeconfig"
        cluster = {
            "server": f"https://localhost:{server.port}/hook",
            "certificate-authority-data": server.ca_bundle,
        }
        self.file.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        server.on("/hook", self._answer)

    def _answer(self, review: Any) -> web.Response:
        self.asked.append(review)
        status = self.status(review) if callable(self.status) else self.status
        return web.json_response({**review, "status": status}, status=self.code)

    def authorizer(self, **changes: Any) -> dict[str, Any]:
        webhook = {
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
            "failurePolicy": "NoOpinion", "authorizedTTL": "5m", "unauthorizedTTL": "30s",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(self.file)}, **changes,
        }  # fmt: skip
        return {"type": "Webhook", "name": "hook", "webhook": webhook}


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    server = WebhookServer(Authority.create("hooks"), ("localhost",))
    await server.start(tmp_path)
    yield Remote(server, tmp_path)
    await server.stop()


# -- tokens --


@pytest.fixture
async def front(remote: Remote) -> AsyncIterator[Front]:
    async with running(token_webhook=TokenWebhookSettings(remote.file)) as made:
        yield made


async def who(front: Front, token: str) -> Any:
    return await front.who(headers={"authorization": f"Bearer {token}"})


async def test_a_webhook_says_whom_a_token_stands_for(front: Front, remote: Remote) -> None:
    user = {"username": "dora", "uid": "7", "groups": ["g"], "extra": {"example.com/x": ["1", "2"]}}
    remote.status = {"authenticated": True, "user": user}
    assert await who(front, "abc") == {**user, "groups": ["g", "system:authenticated"]}
    review = remote.asked[0]
    assert (review["kind"], review["apiVersion"]) == ("TokenReview", "authentication.k8s.io/v1")
    assert review["spec"] == {"token": "abc", "audiences": ["https://kubernetes.default.svc.cluster.local"]}


async def test_answers_about_tokens_are_kept_for_two_minutes(front: Front, remote: Remote) -> None:
    remote.status = {"authenticated": True, "user": {"username": "dora"}}
    for _ in range(3):
        await who(front, "abc")
    assert len(remote.asked) == 1
    front.clock.ahead = 121
    remote.status = {"authenticated": False, "error": "revoked"}
    assert (await who(front, "abc")).status == 401
    assert len(remote.asked) == 2


async def test_a_token_that_the_webhook_refuses_or_that_is_for_others_is_refused(
    front: Front, remote: Remote
) -> None:
    remote.status = {"authenticated": False, "error": "no such token"}
    review = await front.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "abc"}})
    assert review["status"]["error"] == "[invalid bearer token, no such token]"
    remote.status = {"authenticated": True, "user": {"username": "x"}, "audiences": ["elsewhere"]}
    assert (await who(front, "other")).status == 401


async def test_a_token_of_a_webhook_that_knows_no_audiences_is_for_this_server_only(
    front: Front, remote: Remote
) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    remote.status = {"authenticated": True, "user": {"username": "dora"}}
    for audiences, authenticated in (
        (["vault"], False),
        (["https://kubernetes.default.svc.cluster.local"], True),
    ):
        review = await front.create(path, {"spec": {"token": "abc", "audiences": audiences}})
        assert review["status"].get("authenticated", False) is authenticated
    remote.status |= {"audiences": ["vault"]}
    review = await front.create(path, {"spec": {"token": "for-vault", "audiences": ["vault", "x"]}})
    assert review["status"]["audiences"] == ["vault"]


async def test_what_was_wrong_with_a_token_is_asked_again(front: Front, remote: Remote) -> None:
    remote.status = {"authenticated": False, "error": "the directory is away"}
    await who(front, "abc")
    await who(front, "abc")
    assert len(remote.asked) == 2
    remote.status = {"authenticated": False}
    await who(front, "abc")
    await who(front, "abc")
    assert len(remote.asked) == 3


async def test_tokens_of_our_own_are_not_shown_to_the_webhook(front: Front, remote: Remote) -> None:
    await front.account()
    assert (await who(front, await front.token()))["username"].endswith(":robot")
    assert (await who(front, "static-secret"))["username"] == "carol"
    assert remote.asked == []


async def test_a_webhook_that_fails_lets_nobody_in(front: Front, remote: Remote) -> None:
    remote.code = 403
    answer = await who(front, "abc")
    assert isinstance(answer, Answer)
    assert answer.status == 401


# -- authorization --


async def authorized(remote: Remote, *authorizers: Mapping[str, Any]) -> Any:
    document = {**HEAD, "authorizers": list(authorizers)}
    file = remote.file.parent / "authorization.yaml"
    file.write_text(json.dumps(document))
    return running(AuthorizationSettings(configuration_file=file))


RBAC_ONLY = {"type": "RBAC", "name": "rbac"}


async def test_a_webhook_may_allow_what_no_role_does(remote: Remote) -> None:
    async with await authorized(remote, RBAC_ONLY, remote.authorizer()) as front:
        remote.status = {"allowed": True, "reason": "because"}
        answer = await front.ask(
            "GET",
            "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=a%20in%20(b,c)",
            user=BOB,
        )
        assert answer.status == 200
        review = remote.asked[0]
        assert review["apiVersion"] == "authorization.k8s.io/v1"
        assert review["spec"] == {
            "resourceAttributes": {
                "namespace": "default", "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
                "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b", "c"]}]},
            },
            "user": "bob", "groups": ["developers", "system:authenticated"],
        }  # fmt: skip


async def test_a_webhook_before_the_roles_may_deny_what_they_allow(remote: Remote) -> None:
    async with await authorized(remote, remote.authorizer(), RBAC_ONLY) as front:
        await front.bind("view", user="bob")
        remote.status = {"allowed": False}
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 200
        remote.status = {"allowed": False, "denied": True, "reason": "not on Sundays"}
        answer = await front.ask("GET", "/api/v1/services", user=BOB)
        assert answer.status == 403
        assert answer.message.endswith("at the cluster scope: not on Sundays")
        spec = {"user": "bob", "resourceAttributes": {"verb": "list", "resource": "endpoints"}}
        review = await front.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        assert review["status"] == {"allowed": False, "denied": True, "reason": "not on Sundays"}


async def test_masters_need_no_webhook(remote: Remote) -> None:
    async with await authorized(remote, remote.authorizer(failurePolicy="Deny")) as front:
        remote.status = {"allowed": False, "denied": True}
        asked = len(remote.asked)
        assert (await front.ask("GET", "/api/v1/pods")).status == 200
        assert len(remote.asked) == asked


async def test_expressions_of_policies_ask_the_webhook_too(remote: Remote) -> None:
    async with await authorized(remote, RBAC_ONLY, remote.authorizer()) as front:
        remote.status = lambda review: {"allowed": review["spec"]["user"] == "bob", "reason": "it is bob"}
        expression = "authorizer.group('apps').resource('widgets').check('paint').allowed()"
        group = "/apis/admissionregistration.k8s.io/v1"
        rules = [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
        ]
        spec = {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": expression}]}
        await front.create(f"{group}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
        bound = {"policyName": "p", "validationActions": ["Deny"]}
        await front.create(
            f"{group}/validatingadmissionpolicybindings", {"metadata": {"name": "p"}, "spec": bound}
        )
        for user, status in ((BOB, 201), (User("eve", ("system:authenticated",)), 422)):
            await front.bind("edit", user=user.name)
            body = {"metadata": {"name": user.name}}
            answer = await front.ask("POST", "/api/v1/namespaces/default/configmaps", body, user=user)
            assert answer.status == status
        assert {"bob", "eve"} <= {
            review["spec"]["user"]
            for review in remote.asked
            if (review["spec"].get("resourceAttributes") or {}).get("verb") == "paint"
        }


async def test_answers_are_kept_as_long_as_each_kind_says(remote: Remote) -> None:
    async with await authorized(remote, remote.authorizer()) as front:
        remote.status = lambda review: {"allowed": review["spec"]["resourceAttributes"]["resource"] == "pods"}
        asked = len(remote.asked)
        for _ in range(3):
            assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 200
            assert (await front.ask("GET", "/api/v1/services", user=BOB)).status == 403
        assert len(remote.asked) == asked + 2
        front.clock.ahead = 31
        await front.ask("GET", "/api/v1/pods", user=BOB)
        await front.ask("GET", "/api/v1/services", user=BOB)
        assert len(remote.asked) == asked + 3
        front.clock.ahead = 301
        await front.ask("GET", "/api/v1/pods", user=BOB)
        assert len(remote.asked) == asked + 4


async def test_a_webhook_that_fails_denies_or_has_no_opinion_by_its_policy(remote: Remote) -> None:
    remote.code = 400
    for policy, status in (("NoOpinion", 200), ("Deny", 500)):
        async with await authorized(remote, remote.authorizer(failurePolicy=policy), RBAC_ONLY) as front:
            await front.bind("view", user="bob")
            assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == status
            text = front.api.metrics.text()
            asked = 'apiserver_authorization_webhook_evaluations_{}total{{name="hook",result="error"}} '
            assert asked.format("") in text
            assert (asked.format("fail_open_") in text) is (policy == "NoOpinion")


async def test_who_may_not_as_far_as_can_be_told_without_the_webhook_gets_an_error(remote: Remote) -> None:
    remote.code = 400
    async with await authorized(remote, remote.authorizer(), RBAC_ONLY) as front:
        answer = await front.ask("GET", "/api/v1/pods?a=<b>", user=BOB)
        assert answer.status == 500
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body.startswith(b'Internal Server Error: "/api/v1/pods?a=&lt;b&gt;": ')
        review = {"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        status = (await front.create(path, review))["status"]
        assert status["allowed"] is False and status["evaluationError"]
        assert 'authorization_attempts_total{result="error"} ' in front.api.metrics.text()


async def test_decisions_are_counted_by_who_made_them(remote: Remote) -> None:
    conditions = [{"expression": "request.resourceAttributes.resource != 'services'"}]
    async with await authorized(remote, remote.authorizer(matchConditions=conditions), RBAC_ONLY) as front:
        await front.bind("view", user="bob")
        remote.status = {"denied": True, "allowed": False}
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 403
        assert (await front.ask("GET", "/api/v1/services", user=BOB)).status == 200
        text = front.api.metrics.text()
        decision = 'apiserver_authorization_decisions_total{{decision="{}",name="{}",type="{}"}} '
        assert decision.format("denied", "hook", "Webhook") + "1" in text
        assert decision.format("allowed", "rbac", "RBAC") in text
        excluded = 'apiserver_authorization_match_condition_exclusions_total{name="hook",type="Webhook"} '
        assert excluded in text


async def test_a_webhook_is_asked_only_about_what_its_conditions_name(remote: Remote) -> None:
    conditions = [
        {"expression": "has(request.resourceAttributes)"},
        {"expression": "request.resourceAttributes.namespace == 'guarded'"},
        {"expression": "!('system:masters' in request.groups)"},
    ]
    hook = remote.authorizer(matchConditions=conditions, failurePolicy="Deny")
    async with await authorized(remote, hook, RBAC_ONLY) as front:
        await front.bind("view", user="bob")
        remote.status = {"denied": True, "allowed": False}
        assert (await front.ask("GET", "/api/v1/namespaces/default/pods", user=BOB)).status == 200
        assert (await front.ask("GET", "/api", user=BOB)).status == 200
        assert (await front.ask("GET", "/api/v1/namespaces/guarded/pods", user=BOB)).status == 403


async def test_conditions_see_what_is_empty_too(remote: Remote) -> None:
    conditions = [
        {"expression": "has(request.resourceAttributes) && request.resourceAttributes.namespace == ''"},
        {"expression": "request.resourceAttributes.name == '' && request.uid == ''"},
        {"expression": "request.groups.all(g, g != 'x') && !('k' in request.extra)"},
        {"expression": "!has(request.resourceAttributes.fieldSelector)"},
    ]
    hook = remote.authorizer(matchConditions=conditions, failurePolicy="Deny")
    async with await authorized(remote, hook, RBAC_ONLY) as front:
        await front.bind("view", user="nobody-s-friend")
        remote.status = {"denied": True, "allowed": False}
        lonely = User("nobody-s-friend", ())
        assert (await front.ask("GET", "/api/v1/pods", user=lonely)).status == 403
        assert (await front.ask("GET", "/api/v1/namespaces/default/pods", user=lonely)).status == 200
        selected = "/api/v1/pods?fieldSelector=spec.nodeName%3Dx"
        assert (await front.ask("GET", selected, user=lonely)).status == 200


async def test_a_rules_review_says_that_a_webhook_cannot_be_listed(remote: Remote) -> None:
    async with await authorized(remote, RBAC_ONLY, remote.authorizer()) as front:
        remote.status = {"allowed": True}
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        status = (await front.create(path, {"spec": {"namespace": "default"}}, user=BOB))["status"]
        assert status["incomplete"] is True
        assert status["evaluationError"] == "webhook authorizer does not support user rule resolution"


async def test_a_changed_authorization_file_is_taken_and_a_broken_one_is_not(remote: Remote) -> None:
    async with await authorized(remote, RBAC_ONLY) as front:
        file = remote.file.parent / "authorization.yaml"
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 403
        allow = {"type": "AlwaysAllow", "name": "alwaysallow"}
        file.write_text(json.dumps({**HEAD, "authorizers": [RBAC_ONLY, allow]}))
        await front.api.access.reload()
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 200
        file.write_text(json.dumps({**HEAD, "authorizers": []}))
        await front.api.access.reload()
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 200


@pytest.mark.parametrize(
    ("authorizers", "why"),
    [
        ([{"type": "AlwaysAllow", "name": "alwaysallow"}], "missing required types: [RBAC]"),
        ([{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}], "nil nodeAuthorizer"),
        ([{"type": "RBAC", "name": "roles"}], "expected name rbac for authorizer RBAC instead of roles"),
    ],
)
async def test_a_changed_file_neither_adds_nor_removes_what_is_built_in(
    remote: Remote, authorizers: list[Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await authorized(remote, RBAC_ONLY) as front:
        (remote.file.parent / "authorization.yaml").write_text(
            json.dumps({**HEAD, "authorizers": authorizers})
        )
        await front.api.access.reload()
        assert why in caplog.text
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 403


@pytest.mark.parametrize(
    ("authorizers", "text"),
    [
        ([], "authorizers: Required value: at least one authorization mode must be defined"),
        ([{"type": "ABCA", "name": "a"}], 'authorizers[0].type: Unsupported value: "ABCA"'),
        ([RBAC_ONLY, RBAC_ONLY], 'authorizers[1].type: Duplicate value: "RBAC"'),
        ([{"type": "RBAC"}], "authorizers[0].name: Required value"),
        ([{"type": "RBAC", "name": "a"}, {"type": "Node", "name": "b"}],
         "[expected name rbac for authorizer RBAC instead of a, expected name node for authorizer Node instead of b]"),
        ([{"type": "Webhook", "name": "w"}], "authorizers[0].webhook: Required value: required when type=Webhook"),
        ([{"type": "Webhook", "name": "w", "webhook": {}}], "authorizers[0].timeout: Required value"),
        ([{"type": "Webhook", "name": "w", "webhook": {"timeout": "31s"}}], "must be > 0s and <= 30s"),
        (
            [{"type": "Webhook", "name": "w", "webhook": {"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "x"}}}],
            "must be an absolute path",
        ),
        ([{**RBAC_ONLY, "webhook": {}}], "may only be specified when type=Webhook"),
        ([{**RBAC_ONLY, "nane": ""}], "unknown key authorizers[0].nane: did you mean authorizers[0].name?"),
    ],
)  # fmt: skip
def test_a_wrong_authorization_configuration_is_explained(authorizers: list[Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration.load({**HEAD, "authorizers": authorizers})
    assert text in str(caught.value)


async def test_a_condition_that_does_not_compile_keeps_the_server_from_starting(remote: Remote) -> None:
    for wrong in (
        "request.user ==",
        "request.usr == 'x'",
        "request.resourceAttributes.verbs == 'get'",
        "request.user",
    ):
        hook = remote.authorizer(matchConditions=[{"expression": wrong}])
        with pytest.raises(ConfigurationError, match=r"does not compile|must evaluate to bool"):
            async with await authorized(remote, hook):
                raise AssertionError("it must not start")
