"""`sublet run` and the signals that end it."""

from __future__ import annotations

import signal
import subprocess

import pytest
from cli_commands import Commands, free_port


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_what_is_ending_in_good_order(
    alone: Commands, second: signal.Signals
) -> None:
    port = str(free_port())
    process = alone.start(
        "run", "--data-dir", "d", "--port", port, "--store", "memory://", "--shutdown-delay-duration=60s"
    )
    assert process.stdout is not None
    assert any("is ready" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(second)
    assert process.wait(5) == 1
