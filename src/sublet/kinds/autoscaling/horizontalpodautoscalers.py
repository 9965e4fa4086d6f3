"""HorizontalPodAutoscaler."""

from sublet.kinds.builtin import builtin

KIND = builtin("horizontalpodautoscalers.autoscaling")
