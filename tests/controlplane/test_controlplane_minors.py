"""Control planes of other Kubernetes minors."""

from __future__ import annotations

import logging
import time

import pytest

from sublet.testing import running_control_plane


def test_an_old_minor_runs_no_controller_of_kinds_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """1.30 has no ServiceCIDR, IPAddress and VolumeAttributesClass, so nobody asks for them in vain."""
    with caplog.at_level(logging.WARNING, "sublet"), running_control_plane(minor="1.30"):
        time.sleep(0.5)
    assert [record.getMessage() for record in caplog.records if "404" in record.getMessage()] == []
