"""ValidatingWebhookConfiguration."""

from __future__ import annotations

from functools import partial

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import webhooks
from sublet.kinds.rules.common import rule

KIND = builtin(
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    default=partial(webhooks.default_webhooks, mutating=False),
    validate=rule(partial(webhooks.webhooks, mutating=False)),
    cells=webhooks.webhook_cells,
)
