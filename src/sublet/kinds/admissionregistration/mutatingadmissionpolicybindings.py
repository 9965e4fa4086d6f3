"""MutatingAdmissionPolicyBinding."""

from sublet.kinds.builtin import builtin

KIND = builtin("mutatingadmissionpolicybindings.admissionregistration.k8s.io")
