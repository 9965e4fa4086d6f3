"""``make soak``: the crash and load tests with their full counts, and a table of what they did.

SUBLET_SOAK=N sets the rounds of each crash test (default here: 100); SUBLET_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SELECTED = "crash or kill or soak or concurren or saturat or flood or storm or mishaps or bad_input"


def main() -> int:
    rounds = os.environ.get("SUBLET_SOAK", "100")
    seed = os.environ.get("SUBLET_SEED") or str(random.SystemRandom().randrange(1 << 30))
    print(f"rounds of each crash test: {rounds}; SUBLET_SEED={seed} repeats this run", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [
            sys.executable, "-m", "pytest", "-v", "--tb=short", "--timeout=7200", "-k", SELECTED,
            f"--junitxml={report}", "--ignore=tests/e2e", "tests", *sys.argv[1:],
        ]  # fmt: skip
        environment = {**os.environ, "SUBLET_SOAK": rounds, "SUBLET_SEED": seed}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if not report.exists():
            return code or 1
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    print(f"\n{'TEST':<100}{'SECONDS':>9}  RESULT")
    for case in sorted(cases, key=lambda c: -float(c.get("time") or 0)):
        kinds = {child.tag for child in case}
        result = next((word for word in ("failure", "error", "skipped") if word in kinds), "passed")
        print(f"{case.get('name', '')[:98]:<100}{float(case.get('time') or 0):>9.1f}  {result}")
    return code


if __name__ == "__main__":
    sys.exit(main())
