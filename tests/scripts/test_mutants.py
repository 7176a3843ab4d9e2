import ast

from scripts.mutants.changes import mutants_of
from scripts.mutants.table import counts, reasons

SOURCE = '''"""What 1 + 1 is."""
from typing import TYPE_CHECKING, Annotated
import torch

if TYPE_CHECKING:
    SIZE = 4

__all__ = ["f" + "g"]


@cache(maxsize=4)
def f(x: Annotated[int, AtLeast(1)], y: dict[str, 2] = None, *, full=False) -> Tensor[3]:
    """Not 2."""
    if x < 0 and not full:
        raise ValueError(f"{x + 1} is below {x - 1}" + " or so")
    z.copy_(torch.sum(x, dim=-1)).mT
    return -x if full else x @ y.mT
'''


def test_each_mutant_is_one_change_and_wording_types_and_decorators_have_none():
    changes = [(mutant.line, mutant.kind, mutant.before, mutant.after) for mutant in mutants_of(SOURCE)]
    assert changes == [
        (12, "number", "1", "2"),
        (12, "truth", "False", "True"),
        (14, "comparison", "x < 0", "(x <= 0)"),
        (14, "branch", "x < 0 and not full", "True"),
        (14, "branch", "x < 0 and not full", "False"),
        (14, "logic", "x < 0 and not full", "(x < 0 or not full)"),
        (14, "number", "0", "1"),
        (14, "logic", "not full", "(full)"),
        (16, "call left out", "z.copy_(torch.sum(x, dim=-1))", "(z)"),
        (16, "call left out", "z.copy_(torch.sum(x, dim=-1)).mT", "(z.copy_(torch.sum(x, dim=-1)))"),
        (16, "argument left out", "torch.sum(x, dim=-1)", "torch.sum(x)"),
        (16, "number", "1", "2"),
        (17, "arithmetic", "-x", "(x)"),
        (17, "branch", "full", "True"),
        (17, "branch", "full", "False"),
        (17, "order", "x @ y.mT", "((y.mT) @ (x))"),
        (17, "call left out", "y.mT", "(y)"),
    ]


def test_a_mutant_differs_in_its_line_alone():
    for mutant in mutants_of(SOURCE):
        ast.parse(mutant.source)
        lines, changed = SOURCE.splitlines(), mutant.source.splitlines()
        assert [number for number, pair in enumerate(zip(lines, changed, strict=True), 1) if pair[0] != pair[1]] == [mutant.line]


def test_numbers_of_mutants_follow_their_places():
    mutants = mutants_of("a = 1\nb = é(1) + 2.0 * 0.0\n")
    assert [(mutant.number, mutant.source.splitlines()[mutant.line - 1]) for mutant in mutants] == [
        (0, "a = 2"),
        (1, "b = (é(1) - 2.0 * 0.0)"),
        (2, "b = é(2) + 2.0 * 0.0"),
        (3, "b = é(1) + 4.0 * 0.0"),
        (4, "b = é(1) + (2.0 / 0.0)"),
        (5, "b = é(1) + 2.0 * 1.0"),
    ]


def test_a_survivor_has_a_test_now_or_its_reason_is_listed():
    seen, reason = "tests/linalg/test_pade.py", "equivalent: nothing is there"
    rows = [
        {"file": "a.py", "line": str(line), "before": before, "after": "None", "result": result, "why": why}
        for line, before, result, why in (
            (30, "1 | 2", "survived", reason), (4, "x" * 100, "stopped", reason), (5, "1", "survived", seen),
            (6, "1", "not run", "gone: simpler now"), (7, "1", "killed", ""),
        )
    ]  # fmt: skip
    assert counts(rows, "file") == {"a.py": [5, 1, 3, 2]}
    assert reasons(rows) == [
        ("a.py:4", f"`{'x' * 86} ...` to `None`", reason),
        ("a.py:30", "`1 \\| 2` to `None`", reason),
    ]
