"""ValidatingWebhookConfiguration."""

from __future__ import annotations

from functools import partial

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import webhooks
from sublet.kinds.rules.common import rule, update_rule

KIND = builtin(
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    default=partial(webhooks.default_webhooks, mutating=False),
    validate=rule(partial(webhooks.webhooks, mutating=False)),
    validate_update=update_rule(partial(webhooks.webhooks_update, mutating=False)),
    update_alone=True,
    cells=webhooks.webhook_cells,
)
