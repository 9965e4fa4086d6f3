"""From the claims of a verified token to a user: by the names of claims, or by expressions (CEL).

The expression language is loaded once the first expression is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sublet.apiserver.authentication.authenticator import BadToken
from sublet.apiserver.authentication.configuration import JWTAuthenticator, PrefixedClaim
from sublet.client.exchange import User
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, invalid

if TYPE_CHECKING:
    from sublet.machinery.cel.environment import Program
    from sublet.machinery.cel.types import Type

_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_EMAIL = (
    "claims.email_verified must be used in claimMappings.username.expression or "
    "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in "
    "claimMappings.username.expression"
)


class ClaimMapper:
    """Applies the mappings and rules of one issuer. ``errors``: what does not compile."""

    def __init__(self, settings: JWTAuthenticator, path: str = "jwt[0]") -> None:
        self.errors: list[FieldError] = []
        self._settings = settings
        self._path = path
        mappings = settings.claim_mappings
        self._username = self._compile(
            "claimMappings.username.expression", mappings.username.expression, "string"
        )
        self._groups = self._compile("claimMappings.groups.expression", mappings.groups.expression, "list")
        self._uid = self._compile("claimMappings.uid.expression", mappings.uid.expression, "string")
        self._extra = [
            (
                each.key,
                self._compile(f"claimMappings.extra[{i}].valueExpression", each.value_expression, "list"),
            )
            for i, each in enumerate(mappings.extra)
        ]
        self._claim_rules = [
            (rule, self._compile(f"claimValidationRules[{i}].expression", rule.expression, "bool"))
            for i, rule in enumerate(settings.claim_validation_rules)
        ]
        self._user_rules = [
            (rule, self._compile(f"userValidationRules[{i}].expression", rule.expression, "bool", user=True))
            for i, rule in enumerate(settings.user_validation_rules)
        ]
        self._check_email()

    def user(self, claims: Mapping[str, Any]) -> User:
        """Whom the claims stand for. Raises :class:`BadToken`."""
        name = self._name(claims)
        if not name:
            raise BadToken("oidc: the username is empty")
        user = User(name, self._group_names(claims), self._identity(claims), self._extras(claims))
        self._check_claims(claims)
        self._check_user(user)
        return user

    # -- mappings --

    def _name(self, claims: Mapping[str, Any]) -> str:
        if self._username is not None:
            value = self._evaluate(self._username, "username claim", claims)
            if not isinstance(value, str):
                raise BadToken(
                    "oidc: error evaluating username claim expression: username claim expression must return a string"
                )
            return value
        mapping = self._settings.claim_mappings.username
        value = claims.get(mapping.claim)
        if not isinstance(value, str):
            raise BadToken(
                f'oidc: parse username claims "{mapping.claim}": {_missing(claims, mapping.claim)}'
            )
        if mapping.claim == "email" and "email_verified" in claims and claims["email_verified"] is not True:
            raise BadToken("oidc: email not verified")
        return (mapping.prefix or "") + value

    def _group_names(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        mapping: PrefixedClaim = self._settings.claim_mappings.groups
        if mapping.claim and mapping.claim in claims:
            value = claims[mapping.claim]
            values = [value] if isinstance(value, str) else [] if value is None else value
            if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
                raise BadToken(
                    f'oidc: parse groups claim "{mapping.claim}": neither a string nor a list of strings'
                )
            return tuple((mapping.prefix or "") + each for each in values)
        if self._groups is None:
            return ()
        return _strings(self._evaluate(self._groups, "group claim", claims), "group claim")

    def _identity(self, claims: Mapping[str, Any]) -> str:
        mapping = self._settings.claim_mappings.uid
        if mapping.claim:
            value = claims.get(mapping.claim)
            if not isinstance(value, str):
                raise BadToken(f'oidc: parse uid claim "{mapping.claim}": {_missing(claims, mapping.claim)}')
            return value
        if self._uid is None:
            return ""
        value = self._evaluate(self._uid, "uid claim", claims)
        if not isinstance(value, str):
            raise BadToken(
                "oidc: error evaluating uid claim expression: uid claim expression must return a string"
            )
        return value

    def _extras(self, claims: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        identity = claims.get("jti")
        if identity and isinstance(identity, str):
            found[_CREDENTIAL] = (f"JTI={identity}",)
        for key, program in self._extra:
            if program is not None:
                values = _strings(self._evaluate(program, "extra claim", claims), "extra claim")
                if values:
                    found[key] = values
        return found

    # -- rules --

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        for rule, program in self._claim_rules:
            if program is not None:
                self._hold(program, rule.message, {"claims": dict(claims)}, "claim validation expression")
                continue
            if rule.claim not in claims:
                raise BadToken(f"oidc: required claim {rule.claim} not present in ID token")
            value = claims[rule.claim]
            if not isinstance(value, str):
                raise BadToken(f"oidc: parse claim {rule.claim}: its value is no string")
            if value != rule.required_value:
                raise BadToken(
                    f"oidc: required claim {rule.claim} value does not match. "
                    f"Got = {value}, want = {rule.required_value}"
                )

    def _check_user(self, user: User) -> None:
        if not self._user_rules:
            return
        shown: Object = {
            "username": user.name, "uid": user.uid, "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
        }  # fmt: skip
        for rule, program in self._user_rules:
            if program is not None:
                self._hold(program, rule.message, {"user": shown}, "user info validation rule")

    def _hold(self, program: Program, message: str, values: Mapping[str, Any], what: str) -> None:
        if _run(program, values, what) is True:
            return
        because = f": {message}" if message else ""
        raise BadToken(
            f"oidc: error evaluating {what}: validation expression '{program.source}' failed{because}"
        )

    # -- expressions --

    def _evaluate(self, program: Program, what: str, claims: Mapping[str, Any]) -> Any:
        return _run(program, {"claims": dict(claims)}, f"{what} expression")

    def _compile(self, path: str, source: str, want: str, *, user: bool = False) -> Program | None:
        if not source:
            return None
        from sublet.machinery.cel.environment import Environment
        from sublet.machinery.cel.errors import CompileError
        from sublet.machinery.cel.types import BOOL, DYN, STRING, list_of

        wanted: dict[str, tuple[Type, ...]] = {
            "bool": (BOOL, DYN), "string": (STRING, DYN), "list": (STRING, DYN, list_of(STRING), list_of(DYN)),
        }  # fmt: skip
        where = f"{self._path}.{path}"
        variables: dict[str, Type] = {"user": _user_type()} if user else {"claims": DYN}
        try:
            program = Environment(variables).compile(source)
        except CompileError as error:
            self.errors.append(invalid(where, source, error.told))
            return None
        if program.type not in wanted[want]:
            named = "string or list of strings" if want == "list" else want
            self.errors.append(invalid(where, source, f"must evaluate to {named}"))
            return None
        return program

    def _check_email(self) -> None:
        """Whoever is named by an address must look whether that was verified."""
        username = self._settings.claim_mappings.username.expression
        looking = [username, *(each.value_expression for each in self._settings.claim_mappings.extra)]
        looking += [rule.expression for rule in self._settings.claim_validation_rules]
        if _mentions(username, "email") and not any(_mentions(text, "email_verified") for text in looking):
            where = f"{self._path}.claimMappings.username.expression"
            self.errors.append(invalid(where, username, _EMAIL))


def _user_type() -> Type:
    from sublet.machinery.cel import types
    from sublet.machinery.cel.types import STRING, Field

    strings = types.list_of(STRING)
    extra = types.map_of(STRING, strings)
    fields = {
        "username": Field(STRING, "username"), "uid": Field(STRING, "uid"),
        "groups": Field(strings, "groups"), "extra": Field(extra, "extra"),
    }  # fmt: skip
    return types.object_type("kubernetes.UserInfo", lambda: fields)


def _run(program: Program, values: Mapping[str, Any], what: str) -> Any:
    from sublet.machinery.cel.environment import QUICK_LIMIT, Budget
    from sublet.machinery.cel.errors import CostExceeded, EvaluationError

    try:
        return program.evaluate(values, Budget(QUICK_LIMIT))
    except (EvaluationError, CostExceeded) as error:
        raise BadToken(
            f"oidc: error evaluating {what}: expression '{program.source}' resulted in error: {error}"
        ) from None


def _mentions(source: str, claim: str) -> bool:
    """Whether an expression selects a claim by its name; one taken by an index is not seen, as upstream."""
    import re

    return bool(re.search(rf"\bclaims\s*\.\s*\??{claim}\b", source))


def _strings(value: Any, what: str) -> tuple[str, ...]:
    """A CEL value as a list of strings; null and ``""`` are none."""
    if value is None or value == "":
        return ()
    values: Iterable[Any] = (
        [value] if isinstance(value, str) else value if isinstance(value, Sequence) else [None]
    )
    found = tuple(values)
    if not all(isinstance(each, str) for each in found):
        raise BadToken(
            f"oidc: error evaluating {what} expression: expression must return a string or a list of strings"
        )
    return tuple(each for each in found if each)


def _missing(claims: Mapping[str, Any], claim: str) -> str:
    return "its value is no string" if claim in claims else "claim not present"
