"""Transactions of the program ``nft``: each happens as a whole or not at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence

from sublet.machinery.status import ServiceUnavailable

_SECONDS = 60.0


class NFT:
    """Runs ``nft``; ``command`` may put it into a network namespace. Every method raises :class:`ServiceUnavailable` when it is absent or refuses."""

    def __init__(self, command: Sequence[str] = ("nft",)) -> None:
        self._command = tuple(command)

    def missing(self) -> list[str]:
        """What this machine lacks for it, with the way out; empty when nothing does."""
        return [] if shutil.which(self._command[-1]) else ["nft (apt-get install nftables)"]

    async def apply(self, text: str) -> None:
        """One transaction."""
        status, _, said = await self._run("-f", "-", given=text)
        if status:
            raise ServiceUnavailable(f"nft refused a change of {text.count(chr(10))} lines: {said}")

    async def has_chain(self, family: str, table: str, chain: str) -> bool:
        status, _, _ = await self._run("list", "chain", family, table, chain)
        return status == 0

    async def _run(self, *arguments: str, given: str = "") -> tuple[int, str, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError:
            raise ServiceUnavailable(
                "the service proxy needs nft, which is not here; install it: apt-get install nftables"
            ) from None
        try:
            async with asyncio.timeout(_SECONDS):
                out, err = await process.communicate(given.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ServiceUnavailable(f"nft gave no answer within {_SECONDS:.0f} s") from None
        status = process.returncode if process.returncode is not None else -1
        return status, out.decode(errors="replace"), " ".join(err.decode(errors="replace").split())[:1000]
