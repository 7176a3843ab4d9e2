"""Remake the constant in gcp_repro/linalg/pade_coefficients.json: mpmath's Pade approximants of 1 / (1 - x) at 20 digits.

    python scripts/make_pade_coefficients.py [--check]

The construction is the published one: the Taylor coefficients of 1 / (1 - x) to degree K at 20 digits, then mpmath.pade with
numerator and denominator of degree K / 2. The linear system behind it is singular, because 1 / (1 - x) is itself rational,
so its solution is decided by rounding; that is why it is kept as data.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import mpmath

PATH = Path(__file__).parents[1] / "gcp_repro" / "linalg" / "pade_coefficients.json"
DEGREES = (50, 100, 200, 300)


def coefficients(degree: int) -> dict[str, list[float]]:
    """Numerator and denominator, constant term first, rounded to float64."""
    with mpmath.workdps(20):
        taylor = mpmath.taylor(lambda x: 1 / (1 - x), 0, degree)
        numerator, denominator = mpmath.pade(taylor, degree // 2, degree // 2)
        return {"numerator": [float(c) for c in numerator], "denominator": [float(c) for c in denominator]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    made = {str(degree): coefficients(degree) for degree in DEGREES}
    if parser.parse_args().check:
        same = made == json.loads(PATH.read_text())
        print("the same" if same else "different")
        return 0 if same else 1
    PATH.write_text(json.dumps(made, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
