"""Build hook: makes the compact schema data that the package carries (see ``scripts/make_schemas.py``)."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SchemaHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for wheels, editable installs and source archives alike; with current data it costs milliseconds."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        runpy.run_path(str(Path(self.root) / "scripts" / "make_schemas.py"))["main"]()
