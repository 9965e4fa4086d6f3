"""``--feature-gates`` of every component: which may be set, and to what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from sublet.kinds import features
from sublet.kinds.rules import gates, older
from sublet.machinery.settings import ConfigurationError

SWITCHES = (
    gates.ACTED
    | older.ACTED
    | {
        "AuthorizePodWebsocketUpgradeCreatePermission",
        "ClearingNominatedNodeNameAfterBinding",
        "ComponentFlagz",
        "ComponentStatusz",
        "ConstrainedImpersonation",
        "NominatedNodeNameForExpectation",
        "WatchList",
    }
)
"""The gates that something here depends on. The others may be stated as they are, and not otherwise."""


def stated_gates(stated: Sequence[str], minor: str) -> Mapping[str, bool]:
    """What is stated against the minor's defaults. Raises :class:`ConfigurationError`, in Kubernetes' words."""
    try:
        chosen = features.parse(stated, minor).stated
    except features.FeatureError as error:
        raise ConfigurationError(f"{error}{_hint(str(error), minor)}") from None
    known = features.known(minor)
    against = {name: on for name, on in chosen.items() if on != known[name].default}
    grouped = any(each.partition("=")[0].strip() in ("AllAlpha", "AllBeta") for each in stated)
    for name, on in against.items():
        if name not in SWITCHES and not grouped:
            what = "is not here" if on else "cannot be switched off here"
            raise ConfigurationError(
                f"cannot set feature gate {name} to {str(on).lower()}: the feature {what}"
            )
    return {name: on for name, on in against.items() if name in SWITCHES}


def _hint(message: str, minor: str) -> str:
    prefix = "unrecognized feature gate: "
    if not message.startswith(prefix):
        return ""
    nearest = difflib.get_close_matches(message.removeprefix(prefix), features.known(minor), 1, 0.8)
    return f"; did you mean {nearest[0]}?" if nearest else ""
