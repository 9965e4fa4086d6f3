"""VolumeAttachment."""

from sublet.kinds.builtin import builtin

KIND = builtin("volumeattachments.storage.k8s.io")
