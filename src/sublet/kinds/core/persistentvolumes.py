"""PersistentVolume."""

from sublet.kinds.builtin import builtin

KIND = builtin("persistentvolumes")
