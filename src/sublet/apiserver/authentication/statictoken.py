"""Tokens from a file (``token,user,uid,"group1,group2"``), for tests and rescue."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from sublet.apiserver.authentication.authenticator import TokenUser
from sublet.client.exchange import User


class StaticTokens:
    """Known tokens, valid while the process lives."""

    def __init__(self, users: Mapping[str, User], audiences: Sequence[str]) -> None:
        self._users = {token.encode(): user for token, user in users.items()}
        self._audiences = tuple(audiences)

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> TokenUser | None:
        given = token.encode()
        for known, user in self._users.items():
            if hmac.compare_digest(known, given):
                common = tuple(a for a in (audiences or self._audiences) if a in self._audiences)
                return TokenUser(user, common) if common else None
        return None


def read(path: Path) -> dict[str, User]:
    """Token -> user. Raises ``ValueError`` naming the line, ``OSError``."""
    import csv

    users: dict[str, User] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ValueError(f"{path}, line {number}: want token,user,uid and optionally groups")
            groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
            users[row[0]] = User(row[1], groups, row[2])
    return users
