"""kube-apiserver's flags about who asks and who may."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sublet.apiserver.authentication.configuration import Issuer, PrefixedClaim
from sublet.controlplane import flags
from sublet.controlplane.assemble import ControlPlane
from sublet.controlplane.config import load
from sublet.controlplane.run import RunSettings, assembly
from sublet.machinery.settings import ConfigurationError
from sublet.pki.authority import Authority


def applied(*arguments: str) -> dict[str, Any]:
    return flags.applied(flags.parse_flags(arguments))


def test_without_flags_the_authorizers_are_node_and_rbac() -> None:
    made = applied("--event-ttl=1m")["authorization"].configuration.authorizers
    assert [each.type for each in made] == ["Node", "RBAC"]


def test_oidc_flags_make_one_issuer() -> None:
    made = applied(
        "--oidc-issuer-url=https://a.example.com", "--oidc-client-id", "sublet", "--oidc-groups-claim=groups",
        "--oidc-required-claim=tenant=acme", "--oidc-signing-algs=ES256,RS256",
    )["authentication"]["configuration"].jwt[0]  # fmt: skip
    assert made.issuer == Issuer("https://a.example.com", audiences=("sublet",))
    assert made.claim_mappings.username == PrefixedClaim("sub", "https://a.example.com#")
    assert made.claim_mappings.groups == PrefixedClaim("groups", "")
    assert made.signing_algorithms == ("ES256", "RS256")
    assert (made.claim_validation_rules[0].claim, made.claim_validation_rules[0].required_value) == (
        "tenant",
        "acme",
    )


@pytest.mark.parametrize(
    ("claim", "prefix", "want"),
    [("email", "", ""), ("sub", "-", ""), ("email", "x:", "x:"), ("sub", "x:", "x:")],
)
def test_names_of_issuers_are_prefixed_as_upstream_does(claim: str, prefix: str, want: str) -> None:
    arguments = ["--oidc-issuer-url=https://a", "--oidc-client-id=c", f"--oidc-username-claim={claim}"]
    made = applied(*arguments, f"--oidc-username-prefix={prefix}")["authentication"]["configuration"]
    assert made.jwt[0].claim_mappings.username.prefix == want


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--oidc-issuer-url=https://a"], "must be specified together"),
        (["--oidc-issuer-url=https://a", "--oidc-client-id=c", "--oidc-signing-algs=HS256"], "unsupported signing algorithm"),
        (["--authentication-config=/nowhere"], "--authentication-config: /nowhere is not there"),
        (["--authorization-mode=RBAC,Nod"], 'authorization-mode "Nod" is not a valid mode'),
        (["--authorization-mode=RBAC,RBAC"], 'authorization-mode ["RBAC" "RBAC"] has mode specified more than once'),
        (["--authorization-mode=Webhook"], "authorization-mode Webhook's authorization config file not passed"),
        (["--token-auth-file=/nowhere"], "--token-auth-file: /nowhere cannot be read"),
        (["--service-account-max-token-expiration=10m"], "must be between 1 hour and 2^32 seconds"),
        (["--service-account-jwks-uri=http://a"], "requires https scheme"),
        (["--authentication-confg=x"], "did you mean --authentication-config?"),
        (["--oidc-issuer=x"], "did you mean --oidc-issuer-url?"),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_are_explained(arguments: list[str], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        applied(*arguments)
    assert text in str(caught.value)


def test_files_that_exclude_flags(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    for arguments in (
        [f"--authentication-config={file}", "--oidc-issuer-url=https://a", "--oidc-client-id=c"],
        [f"--authorization-config={file}", "--authorization-mode=RBAC"],
    ):
        with pytest.raises(ConfigurationError):
            applied(*arguments)


def test_a_configuration_is_judged_where_the_files_it_names_are_not() -> None:
    arguments = [
        "--token-auth-file=/etc/access/tokens.csv", "--authentication-config=/etc/access/authentication.yaml",
        "--authorization-mode=RBAC,Webhook", "--authorization-webhook-config-file=/etc/access/hook",
    ]  # fmt: skip
    volume = {"name": "access", "secret": {"secretName": "access"}}
    mount = {"name": "access", "mountPath": "/etc/access"}
    persistence = {"addVolumes": [volume], "addVolumeMounts": [mount]}
    chosen = load({"controlPlane": {
        "distro": {"k8s": {"apiServer": {"extraArgs": arguments}}}, "statefulSet": {"persistence": persistence},
    }})  # fmt: skip
    assert chosen.control_plane.stateful_set.persistence.add_volumes == [volume]
    with pytest.raises(ConfigurationError, match="did you mean --token-auth-file"):
        load({"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": ["--token-auth-fil=x"]}}}}})


async def test_a_control_plane_does_what_its_flags_say(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('secret,carol,7,"ops,devs"\n')
    own = Authority.create("own")
    (tmp_path / "own.crt").write_bytes(own.cert_pem)
    authentication = tmp_path / "authentication.yaml"
    authentication.write_text(json.dumps({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]},
    }))  # fmt: skip
    arguments = [
        f"--token-auth-file={tokens}", f"--client-ca-file={tmp_path / 'own.crt'}",
        f"--authentication-config={authentication}", "--authorization-mode=AlwaysAllow",
    ]  # fmt: skip
    chosen = load({"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": arguments}}}}})
    plane = ControlPlane(assembly(RunSettings(tmp_path / "data", port=0, store="memory://"), chosen))
    await plane.start()
    try:
        context = ssl.create_default_context(cadata=plane.pki.ca.cert_pem.decode())
        pair = own.issue("jane", ("external",))
        (tmp_path / "jane.pem").write_bytes(pair.cert_pem + pair.key_pem)
        certified = ssl.create_default_context(cadata=plane.pki.ca.cert_pem.decode())
        certified.load_cert_chain(tmp_path / "jane.pem")
        path = f"{plane.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with aiohttp.ClientSession() as session:
            headers = {"authorization": "Bearer secret"}
            async with session.post(path, json={}, headers=headers, ssl=context) as answer:
                user = (await answer.json())["status"]["userInfo"]
                assert user == {
                    "username": "carol", "uid": "7", "groups": ["ops", "devs", "system:authenticated"]
                }  # fmt: skip
            async with session.get(f"{plane.url}/api/v1/secrets", headers=headers, ssl=context) as answer:
                assert answer.status == 200
            async with session.get(f"{plane.url}/livez", ssl=context) as answer:
                assert answer.status == 200
            async with session.get(f"{plane.url}/version", ssl=context) as answer:
                assert answer.status == 401
        async with (
            aiohttp.ClientSession() as session,
            session.post(path, json={}, ssl=certified) as answer,
        ):
            assert (await answer.json())["status"]["userInfo"]["username"] == "jane"
    finally:
        await plane.stop()
