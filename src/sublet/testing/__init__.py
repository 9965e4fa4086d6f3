"""A running tenant control plane for tests: ``from sublet.testing import control_plane``.

``control_plane`` is a pytest fixture (import it into a conftest or a test module): a whole Kubernetes API with its
controllers on a free port, with a kubeconfig, gone when the test ends. Many can run in one process.
``running_control_plane`` is the same for a ``with`` block.
"""

from sublet.testing.fixture import RunningControlPlane, control_plane, running_control_plane

__all__ = ["RunningControlPlane", "control_plane", "running_control_plane"]
