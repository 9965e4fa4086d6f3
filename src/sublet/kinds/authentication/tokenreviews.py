"""TokenReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("tokenreviews.authentication.k8s.io", stored=False)
