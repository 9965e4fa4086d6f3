"""Gives back what OpenSSL keeps of a client's certificate: a quarter of what an idle watch over TLS would cost.

For as long as a connection lives, OpenSSL keeps the client's certificate with its chain, parsed (12 KB). Who asks was
read at the handshake's end and nobody looks again, but Python's :mod:`ssl` offers no way to let go. OpenSSL's public
functions do: the certificate is emptied, the chain taken apart. What must not happen is that another connection resumes
with an emptied certificate, so the context keeps no sessions (tickets carry their own copy). See
docs/profiles/watches.md.
"""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Callable
from typing import Any

from sublet.apiserver import clientcerts

Release = Callable[[ssl.SSLObject], None]
"""Takes a connection whose handshake is over. Harmless when repeated."""

_pointer = ctypes.c_void_p
_SET_SESSION_CACHE_MODE = 44
_WORD = ctypes.sizeof(_pointer)

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "SSL_CTX_ctrl": (ctypes.c_long, (_pointer, ctypes.c_int, ctypes.c_long, _pointer)),
    "SSL_get_SSL_CTX": (_pointer, (_pointer,)),
    "SSL_get0_peer_certificate": (_pointer, (_pointer,)),
    "SSL_get_peer_cert_chain": (_pointer, (_pointer,)),
    "SSL_get_privatekey": (_pointer, (_pointer,)),
    "OPENSSL_sk_pop": (_pointer, (_pointer,)),
    "X509_free": (None, (_pointer,)),
    "X509_delete_ext": (_pointer, (_pointer, ctypes.c_int)),
    "X509_EXTENSION_free": (None, (_pointer,)),
    "X509_NAME_new": (_pointer, ()),
    "X509_NAME_free": (None, (_pointer,)),
    "X509_set_subject_name": (ctypes.c_int, (_pointer, _pointer)),
    "X509_set_issuer_name": (ctypes.c_int, (_pointer, _pointer)),
    "X509_set_pubkey": (ctypes.c_int, (_pointer, _pointer)),
}


def releasing(context: ssl.SSLContext) -> Release | None:
    """What to call for connections of a context; None where this Python's OpenSSL cannot be reached.

    Switches the context's cache of sessions off.
    """
    library = clientcerts.library()
    if library is None:
        return None
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
    except AttributeError:
        return None
    raw = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)._sslobj  # type: ignore[attr-defined]
    # CPython's _SSLSocket: an object header, the socket, the SSL, the SSLContext.
    if _word(raw, 2) != id(context) or library.SSL_get_SSL_CTX(_word(raw, 1)) != _word(context, 0):
        return None
    library.SSL_CTX_ctrl(_word(context, 0), _SET_SESSION_CACHE_MODE, 0, None)

    def release(connection: ssl.SSLObject) -> None:
        _release(library, _word(connection._sslobj, 1))  # type: ignore[attr-defined]

    return release


def _word(thing: object, number: int) -> int:
    """A word of a CPython object, counted from the end of its header."""
    return _pointer.from_address(id(thing) + object.__basicsize__ + number * _WORD).value or 0


def _release(library: Any, connection: int) -> None:
    certificate = library.SSL_get0_peer_certificate(connection)
    if certificate:
        _empty(library, certificate, library.SSL_get_privatekey(connection))
        chain = library.SSL_get_peer_cert_chain(connection)
        while chain and (each := library.OPENSSL_sk_pop(chain)):
            library.X509_free(each)


def _empty(library: Any, certificate: int, key: int) -> None:
    """Leaves of a certificate its serial number and times. Its key becomes one that is there anyway."""
    while extension := library.X509_delete_ext(certificate, 0):
        library.X509_EXTENSION_free(extension)
    if nobody := library.X509_NAME_new():
        library.X509_set_subject_name(certificate, nobody)
        library.X509_set_issuer_name(certificate, nobody)
        library.X509_NAME_free(nobody)
    library.X509_set_pubkey(certificate, key)
