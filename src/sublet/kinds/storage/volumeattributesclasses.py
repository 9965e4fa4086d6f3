"""VolumeAttributesClass."""

from sublet.kinds.builtin import builtin

KIND = builtin("volumeattributesclasses.storage.k8s.io")
