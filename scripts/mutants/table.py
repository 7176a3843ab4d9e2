"""Print rows of `python -m scripts.mutants` by file, by kind and by reason, in Markdown: python -m scripts.mutants.table FILES

A survivor that was looked at has a `why`: the test that sees it now, that the code is gone, or why there is no test.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from scripts.mutants.changes import mutants_of

ROOT = Path(__file__).parents[2]
SETTLED = ("tests/", "gone: ")  # how a `why` begins where nothing is left to see
SHOWN = 90  # letters of an expression


def counts(rows: list[dict[str, str]], column: str) -> dict[str, list[int]]:
    """Changes that ran, that the tests of then saw, that those of now see, and that nobody sees, by a column."""
    result: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows:
        killed, later = row["result"] == "killed", row["why"].startswith(SETTLED)
        for index, counted in enumerate((True, killed, killed or later, not (killed or later))):
            result[row[column]][index] += counted
    return dict(sorted(result.items()))


def reasons(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """Place, change and reason of what nobody sees."""
    unseen = [row for row in rows if row["result"] != "killed" and not row["why"].startswith(SETTLED)]
    return [
        (f"{row['file']}:{row['line']}", f"`{_short(row['before'])}` to `{_short(row['after'])}`".replace("|", "\\|"), row["why"])
        for row in sorted(unseen, key=lambda row: (row["file"], int(row["line"])))
    ]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 4] + " ..."


def main() -> None:
    rows = [row for path in sys.argv[1:] for row in csv.DictReader(Path(path).read_text().splitlines())]
    for column in ("file", "kind"):
        print(f"\n| {column} | changes | run | seen then | seen now | unseen |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        by_column = counts(rows, column)
        for key, numbers in [*by_column.items(), ("all", [sum(column) for column in zip(*by_column.values(), strict=True)])]:
            path = ROOT / "gcp_repro" / key
            of_file = str(len(mutants_of(path.read_text()))) if path.is_file() else ""
            print(f"| {key} | {of_file} | {' | '.join(map(str, numbers))} |")
    print("\n| place | change | why |\n| --- | --- | --- |")
    for place, change, why in reasons(rows):
        print(f"| {place} | {change} | {why} |")


if __name__ == "__main__":
    main()
