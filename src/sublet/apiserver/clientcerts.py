"""Takes whatever client certificate comes in a TLS handshake: whether it proves anything is authentication's question.

Upstream asks for a certificate and verifies it with the request, so that a stranger's certificate is answered 401 and
one who shows it beside a good token is let in. Python's :mod:`ssl` knows either "do not ask" or "break off the
handshake", and has no hook in between, but OpenSSL has one: ``SSL_CTX_set_cert_verify_callback``
(docs/decisions/0011-client-certificates.md). The handshake still proves that the peer holds the certificate's key.
"""

from __future__ import annotations

import ctypes
import ssl
import sys
from typing import Any

_VERIFY_PEER = 1


def accept_any(context: ssl.SSLContext) -> bool:
    """Asks for client certificates and takes all; False where this Python's OpenSSL cannot be reached.

    Then :mod:`ssl` verifies as it always does: a certificate of a stranger ends the handshake.
    """
    context.verify_mode = ssl.CERT_OPTIONAL
    openssl = library()
    if openssl is None:
        return False
    # CPython's SSLContext is an object header followed by its SSL_CTX.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    if not pointer.value or openssl.SSL_CTX_get_verify_mode(pointer) != _VERIFY_PEER:
        return False
    callback = _CALLBACK(_accept)
    openssl.SSL_CTX_set_cert_verify_callback(pointer, callback, None)
    context.__dict__["accept_any"] = callback  # lives as long as OpenSSL may call it
    return True


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _accept(_store: int, _argument: int) -> int:
    return 1


def library() -> Any:
    """The OpenSSL that :mod:`ssl` itself uses, or None."""
    if sys.implementation.name != "cpython" or not ssl.OPENSSL_VERSION.startswith("OpenSSL "):
        return None
    import _ssl

    try:
        found = ctypes.CDLL(getattr(_ssl, "__file__", None))
        found.OpenSSL_version_num.restype = ctypes.c_ulong
        same = found.OpenSSL_version_num() == ssl.OPENSSL_VERSION_NUMBER
        found.SSL_CTX_get_verify_mode.argtypes = [ctypes.c_void_p]
        found.SSL_CTX_set_cert_verify_callback.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.c_void_p]
        found.SSL_CTX_set_cert_verify_callback.restype = None
    except (OSError, AttributeError):
        return None
    return found if same else None


def intermediates(connection: Any) -> tuple[bytes, ...]:
    """DER of what the peer sent after its own certificate (an :class:`ssl.SSLObject`); nearly always nothing."""
    raw = getattr(connection, "_sslobj", None)  # public on SSLObject from Python 3.13 on
    chain = raw.get_unverified_chain() if raw is not None else None
    if not chain or len(chain) < 2:
        return ()
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain[1:])
