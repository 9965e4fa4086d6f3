"""AlwaysAdmit: has nothing against anything. Deprecated upstream, which still knows its name."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Plugin


def _handles(_attributes: Attributes) -> bool:
    return False


PLUGIN = Plugin("AlwaysAdmit", _handles)
