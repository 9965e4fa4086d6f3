"""CertificateSigningRequest."""

from sublet.kinds.builtin import builtin

KIND = builtin("certificatesigningrequests.certificates.k8s.io")
