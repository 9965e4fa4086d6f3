"""ValidatingAdmissionPolicyBinding."""

from sublet.kinds.builtin import builtin

KIND = builtin("validatingadmissionpolicybindings.admissionregistration.k8s.io")
