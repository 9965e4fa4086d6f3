"""SelfSubjectAccessReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("selfsubjectaccessreviews.authorization.k8s.io", stored=False)
