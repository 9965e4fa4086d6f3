"""Lifecycle handlers: postStart and preStop by exec, httpGet, tcpSocket or sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sublet.node import probes
from sublet.node.cri import CRI, CRIError
from sublet.node.poddata import Container


class HookError(Exception):
    """The handler failed; ``str()`` says how."""


async def run_handler(
    cri: CRI, container: Container, identity: str, handler: Mapping[str, Any], host: str
) -> None:
    """Raises :class:`HookError`."""
    try:
        if action := handler.get("exec"):
            command = action.get("command") or []
            answer = await cri.exec_sync(identity, command)
            if answer.exit_code:
                output = (answer.stdout + answer.stderr).decode(errors="replace").strip()
                raise HookError(f"command '{' '.join(command)}' exited with {answer.exit_code}: {output}")
        elif action := handler.get("httpGet"):
            await _http(container, action, host)
        elif (action := handler.get("sleep")) is not None:
            await asyncio.sleep(float(action.get("seconds") or 0))
        elif action := handler.get("tcpSocket"):
            passed, text = await probes.tcp_connect(container, action, host, 10.0)
            if not passed:
                raise HookError(text)
        else:
            raise HookError(f"invalid handler: {', '.join(handler) or 'empty'}")
    except (CRIError, ValueError) as error:
        raise HookError(str(error)) from None


async def _http(container: Container, action: Mapping[str, Any], host: str) -> None:
    passed, text = await probes.http_get(container, action, host, 30.0)
    if not passed:
        raise HookError(text)
