"""What a pod or template may have only because it had it already (found out in ``pod_before``)."""

from __future__ import annotations

from msgspec import Struct


class Allowances(Struct, frozen=True):
    """Each field: the old object has it in some place, so the new one may have it in any."""

    deletion_cost: bool = False
    """A deletion cost that is no number."""
    affinity_values: bool = False
    """Selectors of pod affinity with what no label can be."""
    node_values: bool = False
    """Required node affinity with what no label can be."""
    uneven_pages: bool = False
    """Amounts of huge pages that are no multiple of a page."""
    spread_selectors: bool = False
    """Spreads whose selectors are none."""
    spread_keys: bool = False
    """Spreads whose ``matchLabelKeys`` are no keys, or are selected already."""
    token_paths: bool = False
    """Tokens projected to paths that lead out of their volume."""
    host_sysctls: bool = False
    """Sysctls of a namespace that is the host's."""
    selinux_policy: bool = False
    """A ``seLinuxChangePolicy`` of whatever value."""
    comparisons: bool = False
    """Tolerations that compare numbers."""
    own_users_on_host_network: bool = False
    """A user namespace of its own, but not a network."""
    own_users_with_devices: bool = False
    """A user namespace of its own, and block devices."""
    restarted_init: bool = False
    """Ordinary init containers that a resize restarts."""
    unnamed_images: bool = False
    """Volumes of an image that has no reference."""


NEW = Allowances()
"""Of what is made anew: none."""
