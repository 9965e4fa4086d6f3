"""Who is believed and who is asked, by settings and by files that may change while the server runs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Sequence
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
from sublet.machinery import codec
from sublet.machinery.clock import Clock
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import BadRequest

_log = logging.getLogger(__name__)
PERIOD = 5.0
"""Seconds between two looks at the files."""


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
    ) -> None:
        """``builtin``: the authorities of the types Node and RBAC. Raises :class:`ConfigurationError`."""
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
        self._webhooks: list[WebhookAuthorizer] = []
        self._retired: list[WebhookAuthorizer] = []
        self._seen: dict[Path, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._use_authentication(self._read_authentication())
        self._use_authorization(self._read_authorization())

    def start(self) -> None:
        if self._files:
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

    @property
    def _files(self) -> list[Path]:
        files = (self._authentication.configuration_file, self._authorization.configuration_file)
        return [file for file in files if file is not None]

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            await self.reload()

    async def reload(self) -> None:
        """Takes over what changed in the files; what is wrong there is logged and changes nothing."""
        for file, read, use in (
            (self._authentication.configuration_file, self._read_authentication, self._use_authentication),
            (self._authorization.configuration_file, self._read_authorization, self._use_authorization),
        ):
            if file is None:
                continue
            before = self._seen.get(file)
            digest = await asyncio.to_thread(_digest, file)
            if digest == before:
                continue
            try:
                configuration: Any = read()
                use(configuration)
                _log.info("%s has changed and counts from now on", file)
            except ConfigurationError as error:
                self._seen[file] = digest
                _log.error("%s has changed, but cannot be used: %s", file, error)

    # -- authentication --

    def _read_authentication(self) -> tuple[AuthenticationConfiguration, list[ClaimMapper]]:
        settings = self._authentication
        own = (settings.issuer, *settings.further_issuers)
        if settings.configuration_file is None:
            made = settings.configuration
            refuse(authentication.errors(made, own))
        else:
            made = authentication.load(self._read(settings.configuration_file), own)
        mappers = [ClaimMapper(each, f"jwt[{index}]") for index, each in enumerate(made.jwt)]
        refuse([error for mapper in mappers for error in mapper.errors])
        return made, mappers

    def _use_authentication(self, read: tuple[AuthenticationConfiguration, list[ClaimMapper]]) -> None:
        made, mappers = read
        self._authenticator.issued.use(list(zip(made.jwt, mappers, strict=True)))
        if made.anonymous is None:
            self._authenticator.set_anonymous(self._authentication.anonymous)
        else:
            paths = [each.path for each in made.anonymous.conditions]
            self._authenticator.set_anonymous(made.anonymous.enabled, paths or None)

    # -- authorization --

    def _read_authorization(self) -> tuple[list[Configured], list[WebhookAuthorizer]]:
        file = self._authorization.configuration_file
        made = self._authorization.configuration if file is None else authorization.load(self._read(file))
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

    def _use_authorization(self, read: tuple[Sequence[Configured], list[WebhookAuthorizer]]) -> None:
        authorities, webhooks = read
        self._authorizer.replace(authorities)
        # Requests may still wait for the old ones: they are closed with the server.
        self._retired += self._webhooks
        self._webhooks = webhooks

    def _read(self, file: Path) -> Any:
        try:
            text = file.read_bytes()
            document = codec.decode_yaml_file(text)
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigurationError(f"{file}: {error}") from None
        self._seen[file] = hashlib.sha256(text).hexdigest()
        return document


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
