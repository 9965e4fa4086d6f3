"""What several commands share: running something until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from sublet.client.client import Client
    from sublet.client.kubeconfig import ClusterAccess
    from sublet.tenants.kubernetes import Tenant
    from sublet.tenants.local import LocalTenants

T = TypeVar("T")


class Stoppable(Protocol):
    async def stop(self) -> None: ...


def set_up_logging(verbosity: int = 0) -> None:
    """Plain lines on standard error; from 4 on, as Kubernetes counts, also what only looks for faults want to know."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbosity >= 4 else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )


def run_until_signal(
    start: Callable[[], Awaitable[Stoppable]],
    ended: Callable[[], Awaitable[None]] | None = None,
    verbosity: int = 0,
) -> None:
    """Starts, waits for SIGTERM or SIGINT (or for ``ended`` to return), and stops cleanly.

    A second signal ends the process at once, with exit code 1.
    """
    import uvloop

    set_up_logging(verbosity)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        starting = asyncio.ensure_future(start())
        waiting = asyncio.ensure_future(asked.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        running = starting.result()
        try:
            finishing = {waiting} | ({asyncio.ensure_future(ended())} if ended else set())
            await asyncio.wait(finishing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, os._exit, 1)
            await running.stop()

    uvloop.run(main())


def run_until_cancelled(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs work that has no end of its own until SIGTERM or SIGINT; an error it raises is the command's."""

    class Running:
        def __init__(self) -> None:
            self.task = asyncio.ensure_future(work())

        async def ended(self) -> None:
            await asyncio.wait({self.task})

        async def stop(self) -> None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    running: list[Running] = []

    async def start() -> Running:
        running.append(Running())
        return running[0]

    async def ended() -> None:
        await running[0].ended()

    run_until_signal(start, ended)


def host_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--kubeconfig``, ``--context`` and ``-n``: which host cluster, and which namespace of it."""
    for option in (
        click.option("-n", "--namespace", default="", help="Namespace of the tenant on the host cluster."),
        click.option("--context", default="", help="Context of the host cluster; default: the current one."),
        click.option(
            "--kubeconfig", type=click.Path(), default=None, help="Default: $KUBECONFIG, ~/.kube/config."
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Host:
    """The host cluster a command works on."""

    access: ClusterAccess
    client: Client
    context: str
    kubeconfig: str | None


@asynccontextmanager
async def host_cluster(kubeconfig: str | None, context: str) -> AsyncIterator[Host]:
    """The host cluster's client. From inside a tenant's context, the context it was reached from is the host's.

    What the host refuses to everyone, or does not answer, is told with the context that is meant.
    """
    from sublet.client.client import Client
    from sublet.client.http import HTTPTransport
    from sublet.client.kubeconfig import contexts, load
    from sublet.machinery.status import ServiceUnavailable, Unauthorized
    from sublet.tenants.connect import parse_context

    names, current = contexts(kubeconfig)
    chosen = context or current
    if not context:
        parsed = parse_context(current)
        if parsed is not None and parsed[2] in names:
            chosen = parsed[2]
    access = load(kubeconfig, chosen)
    client = Client(HTTPTransport(access), "sublet-cli")
    try:
        yield Host(access, client, chosen or "in-cluster", kubeconfig)
    except Unauthorized:
        raise Unauthorized(
            f"the host cluster at {access.server} does not accept the credentials of context {chosen}: they are "
            "wrong or have expired; choose another --context, or get a new kubeconfig"
        ) from None
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            f"{error.message}; bring the host cluster of context {chosen} up, or choose another --context, "
            "and run the same command again"
        ) from None
    finally:
        await client.close()


def local_tenants(host: Host) -> LocalTenants:
    """The tenants that run as processes of this machine."""
    from sublet.tenants.connect import home
    from sublet.tenants.local import LocalTenants

    return LocalTenants(home() / "tenants", host.context)


async def all_tenants(host: Host, namespace: str = "") -> list[Tenant]:
    """Tenants of both kinds: pods of the host, and processes of this machine."""
    from sublet.tenants.kubernetes import Tenants

    here = [tenant for tenant in local_tenants(host).list() if namespace in ("", tenant.namespace)]
    known = {(tenant.name, tenant.namespace) for tenant in here}
    there = await Tenants(host.client).list(namespace)
    return [*(tenant for tenant in there if (tenant.name, tenant.namespace) not in known), *here]


async def find_tenant(host: Host, name: str, namespace: str = "") -> Tenant:
    """One tenant of either kind. Raises ``TenantError``."""
    from sublet.tenants.kubernetes import Tenants

    for tenant in local_tenants(host).list():
        if tenant.name == name and namespace in ("", tenant.namespace):
            return tenant
    return await Tenants(host.client).find(name, namespace)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine; Ctrl-C cancels it cleanly."""
    return asyncio.run(main)
