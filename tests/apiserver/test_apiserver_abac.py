"""Authorization by a file of policies: which lines grant what to whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from apiserver_front import BOB, running

from sublet.apiserver.access import AuthorizationSettings
from sublet.apiserver.authorization import abac, configuration
from sublet.apiserver.authorization.abac import ABAC
from sublet.apiserver.authorization.authorizer import Decision
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.settings import ConfigurationError

ALICE, CHUCK = (User(name, ("system:authenticated",)) for name in ("alice", "chuck"))
SCHEDULER = User("scheduler", ("system:authenticated",))
STRANGER = User("system:anonymous", ("system:unauthenticated",))
MEMBER = User("mia", ("a", "b"))
OLD = """
{"readonly": true, "resource": "events"}
{"user": "scheduler", "readonly": true, "resource": "pods"}
{"user": "scheduler", "resource": "bindings"}
{"user": "alice", "namespace": "caribou"}
{"group": "b", "readonly": true, "nonResourcePath": "*"}
"""
HEAD = '{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": '
NEW = "\n".join(
    ("", "  # a comment", *(f" {HEAD}{spec}}}" for spec in (
        '{"user": "*", "readonly": true, "nonResourcePath": "/api"}',
        '{"user": "*", "nonResourcePath": "/custom"}',
        '{"user": "*", "nonResourcePath": "/root/*"}',
        '{"group": "*", "readonly": true, "resource": "events", "namespace": "*"}',
        '{"user": "alice", "resource": "*", "namespace": "caribou"}',
        '{"user": "alice", "resource": "*", "namespace": "grouped", "apiGroup": "x"}',
        '{"user": "mia", "group": "c", "resource": "*", "namespace": "*", "apiGroup": "*"}',
        '{"readonly": true, "resource": "*", "namespace": "*", "apiGroup": "*"}',
    )))
)  # fmt: skip


def policies(directory: Path, text: str) -> ABAC:
    file = directory / "policies.jsonl"
    file.write_text(text)
    return ABAC(abac.load(file))


def asked(verb: str, resource: str, namespace: str = "", group: str = "") -> RequestInfo:
    return RequestInfo(verb, "", True, group, "v1", namespace, resource)


@pytest.mark.parametrize(
    ("user", "info", "allowed"),
    [
        (SCHEDULER, asked("list", "pods", "one"), True),
        (SCHEDULER, asked("list", "pods"), True),
        (SCHEDULER, asked("create", "pods", "one"), False),
        (SCHEDULER, asked("create", "bindings", "one", "any.group"), True),
        (ALICE, asked("update", "widgets", "caribou", "bar"), True),
        (ALICE, asked("get", "pods", "one"), False),
        (CHUCK, asked("get", "events"), True),
        (CHUCK, asked("update", "events"), False),
        (STRANGER, asked("get", "events"), False),
        (CHUCK, RequestInfo("get", "/"), False),
        (MEMBER, RequestInfo("get", "/metrics"), True),
    ],
)
def test_lines_without_a_version_take_what_they_leave_out_for_all(
    tmp_path: Path, user: User, info: RequestInfo, allowed: bool
) -> None:
    assert policies(tmp_path, OLD).decide(user, info).allowed is allowed


@pytest.mark.parametrize(
    ("user", "info", "allowed"),
    [
        (STRANGER, RequestInfo("get", "/api"), True),
        (STRANGER, RequestInfo("post", "/api"), False),
        (STRANGER, RequestInfo("post", "/custom"), True),
        (STRANGER, RequestInfo("get", "/root"), False),
        (STRANGER, RequestInfo("get", "/root/"), True),
        (STRANGER, RequestInfo("get", "/root/a/b"), True),
        (CHUCK, asked("watch", "events", "one"), True),
        (CHUCK, asked("get", "pods", "one"), False),
        (ALICE, asked("delete", "pods", "caribou"), True),
        (ALICE, asked("delete", "pods", "caribou", "x"), False),
        (ALICE, asked("delete", "pods", "grouped", "x"), True),
        (MEMBER, asked("get", "pods", "one"), False),
    ],
)
def test_lines_with_a_version_grant_nothing_that_they_do_not_say(
    tmp_path: Path, user: User, info: RequestInfo, allowed: bool
) -> None:
    assert policies(tmp_path, NEW).decide(user, info).allowed is allowed


def test_a_refusal_says_that_no_policy_matched(tmp_path: Path) -> None:
    refused = policies(tmp_path, "").decide(CHUCK, asked("get", "pods"))
    assert refused == Decision(False, "No policy matched.")


def test_rules_of_a_user_are_told(tmp_path: Path) -> None:
    found = policies(tmp_path, OLD).resolve(MEMBER, "caribou")
    reading = ["get", "list", "watch"]
    assert found.rules == [
        {"verbs": reading, "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": reading, "nonResourceURLs": ["*"]},
    ]
    assert not found.incomplete


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: {: "),
        ('{"usr": "a"}', "unknown key usr"),
        ('{"kind": "Pod", "apiVersion": "v1"}', "must be a Policy of abac"),
        ("[]", "must be a JSON object"),
    ],
)
def test_a_line_that_is_no_policy_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        policies(tmp_path, f"\n{line}\n")
    assert f"error reading policy file {tmp_path}/policies.jsonl, line 2: {line}" in str(refused.value)
    assert message in str(refused.value)


async def test_the_server_asks_the_policies_in_their_place(tmp_path: Path) -> None:
    file = tmp_path / "policies.jsonl"
    file.write_text('{"user": "bob", "readonly": true, "resource": "pods"}\n')
    modes = configuration.of_modes(["RBAC", "ABAC"], policy_file=str(file))
    async with running(AuthorizationSettings(modes, policy_file=file)) as front:
        assert (await front.ask("GET", "/api/v1/pods", user=BOB)).status == 200
        answer = await front.ask("GET", "/api/v1/services", user=BOB)
        assert answer.message.endswith("at the cluster scope: No policy matched.")


def test_modes_and_their_files_belong_together() -> None:
    for modes, file, message in (
        (["ABAC"], "", "authorization-mode ABAC's authorization policy file not passed"),
        (["RBAC"], "x", "cannot specify --authorization-policy-file without mode ABAC"),
        (["Webhook"], "", "authorization-mode Webhook's authorization config file not passed"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            configuration.of_modes(modes, policy_file=file)
        assert str(refused.value) == message
