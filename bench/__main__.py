"""Runs every benchmark, each in a process of its own so that one does not disturb the next."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path


def main() -> None:
    folder = Path(__file__).parent
    names = sys.argv[1:] or sorted(
        module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")
    )
    failed = []
    for name in names:
        print(f"\n== {name} ==", flush=True)
        arguments = ["--objects", "10000"] if name == "store" else []
        if subprocess.run([sys.executable, str(folder / f"{name}.py"), *arguments], check=False).returncode:
            failed.append(name)
    print(f"\nJSON in {folder / 'results'}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
