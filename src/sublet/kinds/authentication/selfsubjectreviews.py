"""SelfSubjectReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("selfsubjectreviews.authentication.k8s.io", stored=False)
