"""SelfSubjectRulesReview."""

from sublet.kinds.builtin import builtin

KIND = builtin("selfsubjectrulesreviews.authorization.k8s.io", stored=False)
