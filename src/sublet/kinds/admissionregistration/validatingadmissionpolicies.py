"""ValidatingAdmissionPolicy."""

from sublet.kinds.builtin import builtin

KIND = builtin("validatingadmissionpolicies.admissionregistration.k8s.io")
