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
    others: bool
    """Whether it names e-mail addresses or URIs."""
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
    known = (x509.DNSName, x509.IPAddress)
    return SigningRequest(
        common_name=str(common[0].value) if common else "",
        organizations=tuple(str(each.value) for each in organizations),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        ips=tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)),
        others=any(not isinstance(name, known) for name in names),
        public_key=key,
    )


def objection(csr: Object, request: SigningRequest) -> str:
    """Why the signer named in the CSR must not sign it; empty where it may."""
    spec = csr.get("spec") or {}
    usages = frozenset(spec.get("usages") or ())
    match spec.get("signerName"):
        case "kubernetes.io/kube-apiserver-client":
            return _usages(usages, "client auth")
        case "kubernetes.io/kube-apiserver-client-kubelet":
            if not request.is_of_node:
                return (
                    f"subject must be organization {NODES} with a common name that begins with {NODE_PREFIX}"
                )
            if request.dns or request.ips or request.others:
                return "subject alternative names are not allowed"
            return _usages(usages, "client auth")
        case "kubernetes.io/kubelet-serving":
            if not request.is_of_node:
                return (
                    f"subject must be organization {NODES} with a common name that begins with {NODE_PREFIX}"
                )
            if request.others:
                return "e-mail and URI subject alternative names are not allowed"
            if not request.dns and not request.ips:
                return "at least one DNS name or IP address is required"
            return _usages(usages, "server auth")
    return ""


def _usages(usages: frozenset[str], needed: str) -> str:
    if needed not in usages or usages - {needed} - _SMALL_USAGES:
        return f"usages must be {needed}, with digital signature and key encipherment at most"
    return ""


def is_approved(csr: Object) -> bool:
    return objects.is_true(csr, "Approved") and not objects.is_true(csr, "Denied")


def has_ended(csr: Object) -> bool:
    """Denied, failed or signed: nothing more will be done to it."""
    issued = bool((csr.get("status") or {}).get("certificate"))
    return issued or objects.is_true(csr, "Denied") or objects.is_true(csr, "Failed")
