"""Reading certificate signing requests: shared by the controllers that approve, sign and clear them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sublet.machinery import objects
from sublet.machinery.kind import Object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING_SIGNER = "kubernetes.io/kubelet-serving"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
NODES = "system:nodes"
NODE_PREFIX = "system:node:"
_SMALL_USAGES = frozenset({"digital signature", "key encipherment"})


@dataclass(frozen=True)
class SigningRequest:
    """What a CSR asks to be certified."""

    common_name: str
    organizations: tuple[str, ...]
    dns: tuple[str, ...]
    ips: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey

    @property
    def is_of_node(self) -> bool:
        return self.organizations == (NODES,) and self.common_name.startswith(NODE_PREFIX)


def parse(csr: Object) -> SigningRequest:
    """The PKCS#10 request in spec.request. Raises ``ValueError`` saying what is wrong with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    request = x509.load_pem_x509_csr(base64.b64decode((csr.get("spec") or {}).get("request") or ""))
    if not request.is_signature_valid:
        raise ValueError("the signature of the certificate request is invalid")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("the key of the certificate request is neither ECDSA nor RSA")
    try:
        names: Any = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    common = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return SigningRequest(
        common_name=str(common[0].value) if common else "",
        organizations=tuple(str(each.value) for each in organizations),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        ips=tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)),
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        public_key=key,
    )


def objection(csr: Object, request: SigningRequest) -> str:
    """Why the signer named in the CSR must not sign it, in upstream's words; empty where it may."""
    usages = frozenset((csr.get("spec") or {}).get("usages") or ())
    match (csr.get("spec") or {}).get("signerName"):
        case "kubernetes.io/kube-apiserver-client":
            return _client_usages(usages)
        case "kubernetes.io/kube-apiserver-client-kubelet":
            return _of_kubelet_client(request, usages)
        case "kubernetes.io/kubelet-serving":
            return _of_kubelet_serving(request, usages)
    return ""


def _of_kubelet_client(request: SigningRequest, usages: frozenset[str]) -> str:
    if request.organizations != (NODES,):
        return f"subject organization is not {NODES}"
    for names, what in (
        (request.dns, "DNS"), (request.emails, "Email"), (request.ips, "IP"), (request.uris, "URI"),
    ):  # fmt: skip
        if names:
            return f"{what} subjectAltNames are not allowed"
    if not request.common_name.startswith(NODE_PREFIX):
        return f"subject common name does not begin with {NODE_PREFIX} "
    return _exact_usages(usages, "client auth")


def _of_kubelet_serving(request: SigningRequest, usages: frozenset[str]) -> str:
    if request.organizations != (NODES,):
        return f"subject organization is not {NODES}"
    if not request.dns and not request.ips:
        return "DNS or IP subjectAltName is required"
    if request.emails:
        return "Email subjectAltNames are not allowed"
    if request.uris:
        return "URI subjectAltNames are not allowed"
    if why := _exact_usages(usages, "server auth"):
        return why
    if not request.common_name.startswith(NODE_PREFIX):
        return f"subject common name does not begin with {NODE_PREFIX} "
    return ""


def _exact_usages(usages: frozenset[str], needed: str) -> str:
    """``key encipherment`` alone may be left out: keys other than RSA do not encipher."""
    if usages | {"key encipherment"} == {needed, *_SMALL_USAGES}:
        return ""
    return f"usages did not match [{' '.join(sorted({needed, *_SMALL_USAGES}))}]"


def _client_usages(usages: frozenset[str]) -> str:
    further = usages - _SMALL_USAGES - {"client auth"}
    if further:
        return f"invalid usage for client certificate: {min(further)}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def is_approved(csr: Object) -> bool:
    return objects.is_true(csr, "Approved") and not objects.is_true(csr, "Denied")


def has_ended(csr: Object) -> bool:
    """Denied, failed or signed: nothing more will be done to it."""
    issued = bool((csr.get("status") or {}).get("certificate"))
    return issued or objects.is_true(csr, "Denied") or objects.is_true(csr, "Failed")
