"""Build hook: makes the compact schema data that the package carries (see ``kinds/schemas.py``)."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SchemaHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        script = Path(self.root) / "scripts" / "make_schemas.py"
        if script.exists():
            runpy.run_path(str(script))["main"]()
