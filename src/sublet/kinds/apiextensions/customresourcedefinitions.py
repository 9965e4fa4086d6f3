"""CustomResourceDefinition."""

from sublet.kinds.builtin import builtin

KIND = builtin("customresourcedefinitions.apiextensions.k8s.io")
