"""ValidatingWebhookConfiguration."""

from sublet.kinds.builtin import builtin

KIND = builtin("validatingwebhookconfigurations.admissionregistration.k8s.io")
