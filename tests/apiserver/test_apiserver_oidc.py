"""Tokens of other issuers: a provider over real TLS, found by an AuthenticationConfiguration or by flags."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from apiserver_front import Answer, Front, running
from apiserver_webhook_server import WebhookServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from sublet.apiserver.authentication import configuration
from sublet.apiserver.authentication.claims import ClaimMapper
from sublet.machinery.settings import ConfigurationError
from sublet.pki.authority import Authority

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
EMAIL = {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "oidc:"}}


class Provider:
    """An issuer of tokens; ``rotate`` changes its key."""

    def __init__(self, server: WebhookServer) -> None:
        self.server = server
        self.fetched: list[str] = []
        self.url = f"https://localhost:{server.port}"
        self.keys: dict[str, Any] = {}
        self.rotate("k1")
        server.on("/.well-known/openid-configuration", self._discovery)
        server.on("/keys", self._jwks)

    def rotate(self, identity: str, *, keep: bool = False) -> None:
        self.keys = {**(self.keys if keep else {}), identity: ec.generate_private_key(ec.SECP256R1())}

    def token(self, identity: str = "", algorithm: str = "ES256", **claims: Any) -> str:
        identity = identity or next(iter(self.keys))
        now = int(time.time())
        facts = {"iss": self.url, "aud": "sublet", "sub": "jane", "exp": now + 600, "iat": now, **claims}
        facts = {key: value for key, value in facts.items() if value is not None}
        return jwt.encode(facts, self.keys[identity], algorithm, headers={"kid": identity})

    def token_of(self, claims: Mapping[str, Any]) -> str:
        """As :meth:`token`, with claims that may be null."""
        facts = jwt.decode(self.token(), options={"verify_signature": False})
        identity, key = next(iter(self.keys.items()))
        return jwt.encode({**facts, **claims}, key, "ES256", headers={"kid": identity})

    def jwt_settings(self, **changes: Any) -> dict[str, Any]:
        issuer = {
            "url": self.url, "audiences": ["sublet"], "certificateAuthority": self.server.authority.cert_pem.decode(),
        }  # fmt: skip
        made: dict[str, Any] = {"issuer": issuer, "claimMappings": EMAIL}
        for key, value in changes.items():
            made[key] = {**made.get(key, {}), **value} if isinstance(value, Mapping) else value
        return made

    def _discovery(self, _body: Any) -> web.Response:
        self.fetched.append("discovery")
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    def _jwks(self, _body: Any) -> web.Response:
        self.fetched.append("keys")
        listed = []
        for identity, key in self.keys.items():
            kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
            listed.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": identity, "use": "sig"})
        return web.json_response({"keys": listed})


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    server = WebhookServer(Authority.create("issuer"), ("localhost",))
    await server.start(tmp_path)
    yield Provider(server)
    await server.stop()


Start = Callable[..., Awaitable[Front]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an API server with an AuthenticationConfiguration of these parts."""
    stack: list[Any] = []

    async def begin(**parts: Any) -> Front:
        file = tmp_path / "authentication.yaml"
        file.write_text(json.dumps({**HEAD, **parts}))
        context = running(configuration_file=file)
        stack.append(context)
        return await context.__aenter__()

    yield begin
    for context in stack:
        await context.__aexit__(None, None, None)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def who(front: Front, token: str) -> Any:
    return await front.who(headers=bearer(token))


async def refused(front: Front, token: str) -> str:
    """Why a token is refused, as a TokenReview tells."""
    answer = await who(front, token)
    assert isinstance(answer, Answer)
    assert answer.status == 401
    review = await front.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    return str(review["status"]["error"])


async def test_a_token_of_the_issuer_is_the_user_its_claims_say(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    found = await who(front, provider.token(groups=["devs", "ops"], jti="7"))
    assert found == {
        "username": "oidc:jane",
        "groups": ["oidc:devs", "oidc:ops", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7"]},
    }
    assert (await who(front, provider.token(groups="one")))["groups"][0] == "oidc:one"
    assert provider.fetched == ["discovery", "keys"]


@pytest.mark.parametrize(("groups", "found"), [("ops", ["oidc:ops"]), ([], []), (None, [])])
async def test_groups_may_be_one_or_a_list_or_null(
    provider: Provider, start: Start, groups: Any, found: list[str]
) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    token = provider.token_of({"groups": groups})
    assert (await who(front, token))["groups"] == [*found, "system:authenticated"]


async def test_a_rotated_key_is_fetched_when_a_token_names_it(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    old = provider.token()
    assert (await who(front, old))["username"] == "oidc:jane"
    provider.rotate("k2")
    front.clock.ahead = 2
    assert (await who(front, provider.token()))["username"] == "oidc:jane"
    assert "failed to verify signature" in await refused(front, old)


async def test_unknown_keys_do_not_make_the_issuer_work(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    await who(front, provider.token())
    other = Provider(provider.server)
    other.rotate("unknown")
    for _ in range(20):
        assert (await who(front, other.token())).status == 401
    assert provider.fetched.count("keys") + other.fetched.count("keys") <= 3


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 5}, "oidc: token is expired"),
        ({"exp": None}, "oidc: token is expired"),
        ({"exp": "soon"}, "a time is no number"),
        ({"nbf": 4_000_000_000}, "before the nbf"),
        ({"aud": "other"}, 'oidc: expected audience in ["sublet"] got ["other"]'),
        ({"aud": None}, "oidc: expected audience"),
        ({"aud": 7}, "oidc: failed to unmarshal claims"),
        ({"sub": None}, 'oidc: parse username claims "sub": claim not present'),
        ({"sub": 7}, "its value is no string"),
        ({"groups": [1]}, 'oidc: parse groups claim "groups"'),
    ],
)
async def test_a_signed_token_still_must_fit(
    provider: Provider, start: Start, claims: dict[str, Any], why: str
) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    assert why in await refused(front, provider.token(**claims))


async def test_a_token_signed_with_a_published_key_as_a_secret_is_refused(
    provider: Provider, start: Start
) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    facts = jwt.decode(provider.token(), options={"verify_signature": False})
    forged = jwt.encode(facts, "x" * 32, "HS256", headers={"kid": "k1"})
    assert "unsupported algorithm" in await refused(front, forged)
    unsigned = jwt.encode(facts, None, "none", headers={"kid": "k1"})
    assert "unsupported algorithm" in await refused(front, unsigned)


async def test_rsa_keys_count_too(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    provider.keys = {"r": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
    for algorithm in ("RS256", "PS512"):
        assert (await who(front, provider.token("r", algorithm)))["username"] == "oidc:jane"


async def test_an_issuer_that_is_away_is_asked_again_later(provider: Provider, start: Start) -> None:
    away = provider.jwt_settings()
    provider.server.on("/.well-known/openid-configuration", lambda _body: web.Response(status=503))
    front = await start(jwt=[away])
    assert "oidc: authenticator not initialized" in await refused(front, provider.token())
    Provider(provider.server).keys = provider.keys
    provider.server.on("/.well-known/openid-configuration", provider._discovery)
    provider.server.on("/keys", provider._jwks)
    front.clock.ahead = 11
    assert (await who(front, provider.token()))["username"] == "oidc:jane"


async def test_a_discovery_document_of_another_issuer_is_not_believed(
    provider: Provider, start: Start
) -> None:
    front = await start(jwt=[provider.jwt_settings(issuer={"url": f"{provider.url}/"})])
    assert "not initialized" in await refused(front, provider.token(iss=f"{provider.url}/"))


async def test_the_discovery_document_may_be_elsewhere(provider: Provider, start: Start) -> None:
    issuer = {"url": "https://issuer.example.com", "discoveryURL": f"{provider.url}/elsewhere"}
    document = {"issuer": issuer["url"], "jwks_uri": f"{provider.url}/keys"}
    provider.server.on("/elsewhere", lambda _body: web.json_response(document))
    front = await start(jwt=[provider.jwt_settings(issuer=issuer)])
    assert (await who(front, provider.token(iss=issuer["url"])))["username"] == "oidc:jane"


async def test_groups_that_are_elsewhere_are_fetched(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    source = {"endpoint": f"{provider.url}/groups", "access_token": "t"}
    elsewhere = {"_claim_names": {"groups": "src"}, "_claim_sources": {"src": source}}
    provider.server.on("/groups", lambda _body: web.Response(text=provider.token(groups=["far", "away"])))
    found = await who(front, provider.token(**elsewhere))
    assert found["groups"] == ["oidc:far", "oidc:away", "system:authenticated"]
    for text, why in (
        (provider.token(), "did not contain claim: groups"),
        (provider.token(groups=["x"], aud="other"), "expected audience"),
        ("nonsense", "could not expand distributed claims"),
    ):
        provider.server.on("/groups", lambda _body, text=text: web.Response(text=text))
        assert why in await refused(front, provider.token(**elsewhere))
    assert "no claim sources" in await refused(front, provider.token(_claim_names={"groups": "src"}))
    assert (await who(front, provider.token(_claim_names={"other": "src"}, _claim_sources={})))["username"]


async def test_expressions_map_and_check_claims(provider: Provider, start: Start) -> None:
    settings = provider.jwt_settings(
        claimValidationRules=[
            {"claim": "tenant", "requiredValue": "acme"},
            {"expression": "claims.exp - claims.iat <= 3600", "message": "tokens live an hour at most"},
        ],
        userValidationRules=[
            {"expression": "!user.username.startsWith('system:')", "message": "reserved name"},
            {"expression": "user.groups.all(group, group != 'root')"},
        ],
    )
    settings["claimMappings"] = {
        "username": {"expression": "claims.name + '@' + claims.?org.orValue('none')"},
        "groups": {"expression": "claims.roles.split(',')"},
        "uid": {"expression": "claims.sub"},
        "extra": [{"key": "example.com/team", "valueExpression": "claims.team"}],
    }
    front = await start(jwt=[settings])
    facts = {"name": "jane", "org": "acme", "roles": "a,b", "team": ["x", "y"], "tenant": "acme"}
    assert await who(front, provider.token(**facts)) == {
        "username": "jane@acme", "uid": "jane", "groups": ["a", "b", "system:authenticated"],
        "extra": {"example.com/team": ["x", "y"]},
    }  # fmt: skip
    for change, why in (
        ({"tenant": None}, "oidc: required claim tenant not present in ID token"),
        ({"tenant": "x"}, "value does not match. Got = x, want = acme"),
        ({"exp": int(time.time()) + 9000}, "tokens live an hour at most"),
        ({"name": "system:masters"}, "reserved name"),
        ({"roles": "root"}, "validation expression 'user.groups.all(group, group != 'root')' failed"),
        ({"name": None}, "no such key: name"),
        ({"name": 7}, "no such overload"),
    ):
        assert why in await refused(front, provider.token(**{**facts, **change}))


async def test_several_issuers_are_told_apart_and_a_changed_file_is_taken(
    provider: Provider, start: Start, tmp_path: Path
) -> None:
    second = {
        **provider.jwt_settings(issuer={"url": "https://b.example.com", "discoveryURL": f"{provider.url}/b"})
    }
    second["claimMappings"] = {"username": {"claim": "sub", "prefix": "b:"}}
    document = {"issuer": "https://b.example.com", "jwks_uri": f"{provider.url}/keys"}
    provider.server.on("/b", lambda _body: web.json_response(document))
    front = await start(jwt=[provider.jwt_settings(), second])
    assert (await who(front, provider.token()))["username"] == "oidc:jane"
    assert (await who(front, provider.token(iss="https://b.example.com")))["username"] == "b:jane"
    file = tmp_path / "authentication.yaml"
    file.write_text(json.dumps({**HEAD, "jwt": [second]}))
    await front.api.access.reload()
    assert (await who(front, provider.token())).status == 401
    assert (await who(front, provider.token(iss="https://b.example.com")))["username"] == "b:jane"
    file.write_text("nonsense: [")
    await front.api.access.reload()
    assert (await who(front, provider.token(iss="https://b.example.com")))["username"] == "b:jane"


async def test_an_issuer_that_cannot_be_reached_does_not_replace_one_that_works(
    provider: Provider, start: Start, tmp_path: Path
) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    front.api.access.patience = 0.0
    silent = provider.jwt_settings(issuer={"url": f"{provider.url}/silent"})
    file = tmp_path / "authentication.yaml"
    file.write_text(json.dumps({**HEAD, "jwt": [silent]}))
    await front.api.access.reload()
    assert (await who(front, provider.token()))["username"] == "oidc:jane"
    counted = (await front.ask("GET", "/metrics")).body.decode()
    assert 'authentication_config_controller_automatic_reloads_total{apiserver_id_hash="sha256:' in counted
    assert 'status="failure"} 1\n' in counted
    # It is tried again, but not at every look.
    answer = {"issuer": f"{provider.url}/silent", "jwks_uri": f"{provider.url}/keys"}
    provider.server.on("/silent/.well-known/openid-configuration", lambda _body: web.json_response(answer))
    await front.api.access.reload()
    assert (await who(front, provider.token()))["username"] == "oidc:jane"
    front.clock.ahead = 61
    await front.api.access.reload()
    assert (await who(front, provider.token())).status == 401
    assert (await who(front, provider.token(iss=f"{provider.url}/silent")))["username"] == "oidc:jane"


async def test_what_came_of_tokens_and_files_is_counted(
    provider: Provider, start: Start, tmp_path: Path
) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    await who(front, provider.token())
    await who(front, provider.token(exp=5))
    text = json.dumps({**HEAD, "jwt": []})
    (tmp_path / "authentication.yaml").write_text(text)
    await front.api.access.reload()
    counted = (await front.ask("GET", "/metrics")).body.decode()
    issuer = hashlib.sha256(provider.url.encode()).hexdigest()
    for result in ("success", "failure"):
        labels = f'{{jwt_issuer_hash="sha256:{issuer}",result="{result}"}}'
        assert f"apiserver_authentication_jwt_authenticator_latency_seconds_count{labels} 1\n" in counted
    assert f'hash="sha256:{hashlib.sha256(text.encode()).hexdigest()}"}} 1\n' in counted


async def test_anonymous_may_be_limited_to_paths(start: Start) -> None:
    front = await start(anonymous={"enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]})
    for path, status in (
        ("/livez", 200),
        ("/readyz", 200),
        ("/version", 401),
        ("/livez/ping", 401),
        ("/api", 401),
    ):
        assert (await front.ask("GET", path, user=None)).status == status


async def test_anonymous_may_be_switched_off(start: Start) -> None:
    front = await start(anonymous={"enabled": False})
    assert (await front.ask("GET", "/livez", user=None)).status == 401


GOOD: dict[str, Any] = {
    "issuer": {"url": "https://a.example.com", "audiences": ["a"]},
    "claimMappings": EMAIL,
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"issuer": {"audiences": ["a"]}}, "jwt[0].issuer.url: Required value"),
        ({"issuer": {"url": "http://a", "audiences": ["a"]}}, "URL scheme must be https"),
        ({"issuer": {"url": "https://u:p@a", "audiences": ["a"]}}, "URL must not contain a username or password"),
        ({"issuer": {"url": "https://a?b=c", "audiences": ["a"]}}, "URL must not contain a query"),
        ({"issuer": {"url": "https://own", "audiences": ["a"]}}, "URL must not overlap with disallowed issuers: [https://own]"),
        ({"issuer": {"url": "https://a"}}, "jwt[0].issuer.audiences: Required value: at least one"),
        ({"issuer": {"url": "https://a", "audiences": ["a", "b"]}}, "must be MatchAny for multiple audiences"),
        ({"issuer": {"url": "https://a", "audiences": ["a"], "certificateAuthority": "x"}}, '"<omitted>"'),
        ({"claimMappings": {}}, "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        ({"claimMappings": {"username": {"claim": "sub"}}}, "prefix is required when claim is set"),
        ({"claimMappings": {"username": {"expression": "claims.sub +"}}}, "compilation failed"),
        ({"claimMappings": {"username": {"expression": "1 == 1"}}}, "must evaluate to string"),
        ({"claimMappings": {"username": {"expression": "claims.email"}}}, "claims.email_verified must be used in"),
        ({"claimMappings": {**EMAIL, "extra": [{"key": "kubernetes.io/x", "valueExpression": "'a'"}]}}, "reserved for Kubernetes use"),
        ({"claimMappings": {**EMAIL, "extra": [{"key": "x", "valueExpression": "'a'"}]}}, "must be a domain-prefixed path"),
        ({"claimValidationRules": [{"claim": "a", "expression": "true"}]}, "claim and expression can't both be set"),
        ({"userValidationRules": [{"expression": ""}]}, "jwt[0].userValidationRules[0].expression: Required value"),
        ({"userValidationRules": [{"expression": "user.name == 'x'"}]}, "compilation failed"),
        ({"claimMapping": {}}, "unknown key jwt[0].claimMapping: did you mean jwt[0].claimMappings?"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_explained(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made = configuration.load({**HEAD, "jwt": [{**GOOD, **change}]}, ["https://own"])
        configuration.refuse([error for each in made.jwt for error in ClaimMapper(each).errors])
    assert text in str(caught.value)


def test_only_documents_of_the_kind_are_taken() -> None:
    for document in (None, [], {}, {**HEAD, "kind": "Other"}, {**HEAD, "apiVersion": "v1"}):
        with pytest.raises(ConfigurationError, match="AuthenticationConfiguration"):
            configuration.load(document)


async def test_many_tokens_at_once_fetch_the_keys_once(provider: Provider, start: Start) -> None:
    front = await start(jwt=[provider.jwt_settings()])
    found = await asyncio.gather(*(who(front, provider.token(sub=f"u{n}")) for n in range(20)))
    assert [each["username"] for each in found] == [f"oidc:u{n}" for n in range(20)]
    assert provider.fetched == ["discovery", "keys"]
