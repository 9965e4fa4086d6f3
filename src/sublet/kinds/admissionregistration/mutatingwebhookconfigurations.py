"""MutatingWebhookConfiguration."""

from sublet.kinds.builtin import builtin

KIND = builtin("mutatingwebhookconfigurations.admissionregistration.k8s.io")
