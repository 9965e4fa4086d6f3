"""SubjectAccessReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("subjectaccessreviews.authorization.k8s.io", stored=False)
