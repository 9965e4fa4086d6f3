"""LocalSubjectAccessReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("localsubjectaccessreviews.authorization.k8s.io", stored=False)
