"""Keys that sign ServiceAccount tokens, and public keys that verify them (JSON Web Signatures; reference B.16)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_UNCHECKED = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
    "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False,
}  # fmt: skip


class VerifyingKey:
    """One public key: ECDSA on P-256, P-384 or P-521, or RSA. Raises ``ValueError`` for any other."""

    def __init__(self, public: PublicKey) -> None:
        self._public = public
        self.algorithm = _algorithm(public)

    @property
    def public(self) -> PublicKey:
        return self._public

    @cached_property
    def algorithm(self) -> str:
        """``ES256``, ``RS256`` …"""
        return _algorithm(self.public)

    @cached_property
    def identity(self) -> str:
        """The key id (``kid``): of the public key, by upstream's rule."""
        return _identity(self.public)

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this key signed; None where it did not. Times are not looked at."""
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.public,
                algorithms=[self.algorithm],
                options=_UNCHECKED,  # type: ignore[arg-type]  # a TypedDict of its own
            )
        except (jwt.PyJWTError, ValueError):
            return None
        return claims

    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key."""
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        algorithm: Any = ECAlgorithm if self.algorithm.startswith("E") else RSAAlgorithm
        made: dict[str, Any] = algorithm.to_jwk(self.public, as_dict=True)
        made.pop("key_ops", None)
        return {"use": "sig", "kid": self.identity, "alg": self.algorithm, **made}


class SigningKey(VerifyingKey):
    """The key of ``sa.key`` (PEM): signs tokens.

    It is read when it is first needed, as the library for that takes longer to load than a start should; all but making
    one raises ``ValueError`` where it is neither ECDSA nor RSA.
    """

    def __init__(self, key_pem: bytes) -> None:
        self._pem = key_pem

    @property
    def public(self) -> PublicKey:
        return self._key.public_key()

    @cached_property
    def _key(self) -> PrivateKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = serialization.load_pem_private_key(self._pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the ServiceAccount signing key is neither ECDSA nor RSA")
        return key

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The compact token of these claims; names its key."""
        import jwt

        headers = {"kid": self.identity, "typ": None}
        return jwt.encode(dict(claims), self._key, self.algorithm, headers=headers)


class KeySet:
    """Keys by their id: several while one key takes over from another."""

    def __init__(self, keys: Sequence[VerifyingKey]) -> None:
        self._given = tuple(keys)

    @cached_property
    def _by_identity(self) -> Mapping[str, VerifyingKey]:
        return {key.identity: key for key in self._given}

    @property
    def keys(self) -> Sequence[VerifyingKey]:
        """Each key once."""
        return tuple(self._by_identity.values())

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that one of the keys signed: that it names, or any where it names none."""
        import jwt

        try:
            named = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError):
            return None
        if named:
            key = self._by_identity.get(named) if isinstance(named, str) else None
            return None if key is None else key.verify(token)
        for key in self.keys:
            if (claims := key.verify(token)) is not None:
                return claims
        return None


def verifying_keys(pem: bytes) -> list[VerifyingKey]:
    """The public keys of a file of PEM blocks (public keys, private keys, certificates). Raises ``ValueError``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    found: list[VerifyingKey] = []
    for kind, block in _blocks(pem):
        public: Any
        if kind == "CERTIFICATE":
            public = x509.load_pem_x509_certificate(block).public_key()
        elif kind.endswith("PRIVATE KEY"):
            public = serialization.load_pem_private_key(block, password=None).public_key()
        elif kind.endswith("PUBLIC KEY"):
            public = serialization.load_pem_public_key(block)
        else:
            continue
        found.append(VerifyingKey(public))
    if not found:
        raise ValueError("data does not contain any valid RSA or ECDSA public keys")
    return found


def _blocks(pem: bytes) -> list[tuple[str, bytes]]:
    import re

    pattern = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
    return [(match[1].decode(), match[0] + b"\n") for match in pattern.finditer(pem)]


def _algorithm(public: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        return _CURVES[public.curve.name]
    raise ValueError("the key is neither RSA nor ECDSA on one of the curves P-256, P-384 and P-521")


def _identity(public: PublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
