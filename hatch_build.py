"""Puts the pages' third-party scripts into src/static/vendor/ before anything is built."""

import runpy
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = runpy.run_path(str(Path(__file__).parent / "src" / "vendor.py"))


class VendorBuildHook(BuildHookInterface[Any]):
    def dependencies(self) -> list[str]:
        needs_npm = not (VENDOR["is_current"]() or shutil.which("npm"))
        return [VENDOR["NPM_FROM_PYPI"]] if needs_npm else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        VENDOR["ensure_vendor"]()
