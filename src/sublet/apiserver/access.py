"""Who is believed and who is asked, by settings and by files that may change while the server runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from sublet.apiserver.authentication import configuration as authentication
from sublet.apiserver.authentication.authenticator import Authenticator
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.authentication.claims import ClaimMapper
from sublet.apiserver.authentication.configuration import AuthenticationConfiguration
from sublet.apiserver.authorization import abac
from sublet.apiserver.authorization import configuration as authorization
from sublet.apiserver.authorization.abac import ABAC
from sublet.apiserver.authorization.authorizer import (
    AlwaysAllow,
    AlwaysDeny,
    Authority,
    Authorizer,
    Configured,
)
from sublet.apiserver.authorization.configuration import AuthorizationConfiguration
from sublet.apiserver.authorization.webhook import WebhookAuthorizer
from sublet.apiserver.configurationfiles import refuse
from sublet.apiserver.reloads import Followed, Reloads
from sublet.machinery import codec
from sublet.machinery.clock import Clock
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import BadRequest

PERIOD = 5.0
"""Seconds between two looks at the files."""
_WITH_STATE = {"Node": "nodeAuthorizer", "RBAC": "rbacAuthorizer", "ABAC": "abacAuthorizer"}
"""Types of authorizers that are there from the start or never, and how upstream's errors call them."""
PATIENCE = 60.0
"""Seconds that the issuers of a changed AuthenticationConfiguration have until they can be reached."""


class AuthorizationSettings(Struct, frozen=True):
    configuration: AuthorizationConfiguration = authorization.DEFAULT
    configuration_file: Path | None = None
    """An AuthorizationConfiguration instead; read again when it changes."""
    policy_file: Path | None = None
    """The policies of the authorizer ABAC."""


class Access:
    """Sets up an authenticator and an authorizer; looks at the files from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        authenticator: Authenticator,
        authentication_settings: AuthenticationSettings,
        authorizer: Authorizer,
        authorization_settings: AuthorizationSettings,
        builtin: dict[str, Authority],
        clock: Clock,
        server: str,
    ) -> None:
        """``builtin``: the authorities of the types Node and RBAC; ``server``: the name of this one's Lease.

        Raises :class:`ConfigurationError`.
        """
        self.patience = PATIENCE
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._authentication = authentication_settings
        self._authorization = authorization_settings
        self._builtin: dict[str, Authority] = {
            **builtin, "AlwaysAllow": AlwaysAllow(), "AlwaysDeny": AlwaysDeny()
        }  # fmt: skip
        if authorization_settings.policy_file is not None:
            self._builtin["ABAC"] = ABAC(abac.load(authorization_settings.policy_file))
        self._clock = clock
        self._types: frozenset[str] = frozenset()
        """Which authorizers there are beside webhooks: a changed file must name these, and may not add what has a state."""
        self._webhooks: list[WebhookAuthorizer] = []
        self._retired: list[WebhookAuthorizer] = []
        self._task: asyncio.Task[None] | None = None
        self._followed = [
            Followed(file, renew, Reloads(what, server, clock), clock)
            for what, file, renew in (
                ("authentication", authentication_settings.configuration_file, self._renew_authentication),
                ("authorization", authorization_settings.configuration_file, self._renew_authorization),
            )
            if file is not None
        ]
        made, mappers = self._read_authentication()
        self._authenticator.issued.use(list(zip(made.jwt, mappers, strict=True)))
        self._let_anonymous(made)
        begun = self._read_authorization()
        self._types = frozenset(each.type for each in begun[0]) - {"Webhook"}
        self._use_authorization(begun)

    def start(self) -> None:
        if self._followed:
            self._task = asyncio.create_task(self._follow(), name="access configuration")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for webhook in (*self._webhooks, *self._retired):
            await webhook.close()
        await self._authenticator.close()

    def lines(self) -> Iterator[str]:
        """What came of changed files, in Prometheus' text format."""
        for followed in self._followed:
            yield from followed.reloads.lines()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            await self.reload()

    async def reload(self) -> None:
        """Takes over what changed in the files; what is wrong there is logged and changes nothing."""
        await asyncio.gather(*(followed.look() for followed in self._followed))

    # -- authentication --

    def _read_authentication(self) -> tuple[AuthenticationConfiguration, list[ClaimMapper]]:
        settings = self._authentication
        own = (settings.issuer, *settings.further_issuers)
        if settings.configuration_file is None:
            made = settings.configuration
            refuse(authentication.errors(made, own))
        else:
            made = authentication.load(_read(settings.configuration_file), own)
        mappers = [ClaimMapper(each, f"jwt[{index}]") for index, each in enumerate(made.jwt)]
        refuse([error for mapper in mappers for error in mapper.errors])
        return made, mappers

    async def _renew_authentication(self) -> None:
        made, mappers = self._read_authentication()
        await self._authenticator.issued.change(list(zip(made.jwt, mappers, strict=True)), self.patience)
        self._let_anonymous(made)

    def _let_anonymous(self, made: AuthenticationConfiguration) -> None:
        if made.anonymous is None:
            self._authenticator.set_anonymous(self._authentication.anonymous)
        else:
            paths = [each.path for each in made.anonymous.conditions]
            self._authenticator.set_anonymous(made.anonymous.enabled, paths or None)

    # -- authorization --

    def _read_authorization(self) -> tuple[list[Configured], list[WebhookAuthorizer]]:
        file = self._authorization.configuration_file
        made = (
            self._authorization.configuration
            if file is None
            else authorization.load(_read(file), self._types)
        )
        authorities: list[Configured] = []
        webhooks: list[WebhookAuthorizer] = []
        try:
            for each in made.authorizers:
                if each.type == "Webhook":
                    webhooks.append(WebhookAuthorizer(each, self._clock, self._authorizer.metrics))
                    authority: Authority = webhooks[-1]
                elif each.type in self._builtin:
                    authority = self._builtin[each.type]
                else:
                    raise ConfigurationError("authorization-mode ABAC's authorization policy file not passed")
                authorities.append(Configured(authority, each.type, each.name))
        except BadRequest as error:
            raise ConfigurationError(str(error)) from None
        return authorities, webhooks

    async def _renew_authorization(self) -> None:
        authorities, webhooks = self._read_authorization()
        for each in authorities:
            if each.type in _WITH_STATE and each.type not in self._types:
                raise ConfigurationError(f"nil {_WITH_STATE[each.type]}")
        self._use_authorization((authorities, webhooks))

    def _use_authorization(self, read: tuple[Sequence[Configured], list[WebhookAuthorizer]]) -> None:
        authorities, webhooks = read
        self._authorizer.replace(authorities)
        # Requests may still wait for the old ones: they are closed with the server.
        self._retired += self._webhooks
        self._webhooks = webhooks


def _read(file: Path) -> Any:
    try:
        return codec.decode_yaml_file(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
