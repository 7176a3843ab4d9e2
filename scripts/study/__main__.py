"""Everything of docs/study.md that follows from finished runs: rows, comparisons, arms, figures, tables and numbers.

    python -m scripts.study RUNS

Run it from the root of the repository, after the sweeps that docs/study.md names. What is measured without runs, by the modules
`gradient_error`, `tail` and `cost` of this folder and `law --measure`, is not repeated here.
"""

from __future__ import annotations

import subprocess
import sys

STEPS = ("comparisons", "arms", "swaps", "predictors", "law", "figures", "page")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    for step in (["rows", sys.argv[1]], *([step] for step in STEPS)):
        subprocess.run([sys.executable, "-m", f"scripts.study.{step[0]}", *step[1:]], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
