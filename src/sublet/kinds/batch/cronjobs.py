"""CronJob."""

from sublet.kinds.builtin import builtin

KIND = builtin("cronjobs.batch")
