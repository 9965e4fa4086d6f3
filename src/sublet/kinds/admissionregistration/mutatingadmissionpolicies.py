"""MutatingAdmissionPolicy."""

from sublet.kinds.builtin import builtin

KIND = builtin("mutatingadmissionpolicies.admissionregistration.k8s.io")
