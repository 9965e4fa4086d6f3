"""A hollow node as a background process, for machines that cannot run containers.

``python -m sublet.machine.hollow KUBECONFIG NODE VOLUMES``. Claims are bound to real directories as on a real node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import KubeconfigError
from sublet.machine.provisioner import Provisioner, ProvisionerSettings
from sublet.machinery.status import StatusError
from sublet.node.hollow import HollowNodes
from sublet.node.hollow_registration import HollowSettings


async def run_hollow_node(access_file: Path, node: str, volumes: Path) -> None:
    """Works until cancelled."""
    client = Client(HTTPTransport(kubeconfig.load(access_file)), "kubelet")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HollowNodes(client, HollowSettings(names=(node,))).run())
            group.create_task(Provisioner(client, ProvisionerSettings(node, volumes)).run())
    finally:
        await client.close()


async def _until_terminated(access_file: Path, node: str, volumes: Path) -> None:
    task = asyncio.create_task(run_hollow_node(access_file, node, volumes))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 3:
        print("usage: python -m sublet.machine.hollow KUBECONFIG NODE VOLUMES", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_until_terminated(Path(given[0]), given[1], Path(given[2])))
    except (StatusError, KubeconfigError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
