"""What a JSON Web Token says of itself, before anything of it is believed."""

from __future__ import annotations

import base64

from sublet.machinery import codec

_LIMIT = 64 * 1024
"""Bytes of a token that is looked at at all."""


def claimed_issuer(token: str) -> str:
    """The issuer that a compact token names, or ``""`` where it is no such token. It is nobody's word yet."""
    if token.count(".") != 2 or len(token) > _LIMIT:
        return ""
    payload = token.split(".")[1]
    try:
        claims = codec.decode_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else ""


def audiences_of(claims: dict[str, object]) -> list[str]:
    """The ``aud`` claim as a list."""
    stated = claims.get("aud") or []
    return [stated] if isinstance(stated, str) else [str(each) for each in stated]  # type: ignore[attr-defined]  # a list, else the token is refused
