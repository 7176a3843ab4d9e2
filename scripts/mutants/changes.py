"""The mutants of a file: its text with one small change each, in a fixed order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], str]] = {
    ast.Add: (ast.Sub, "arithmetic"),
    ast.Sub: (ast.Add, "arithmetic"),
    ast.Mult: (ast.Div, "arithmetic"),
    ast.Div: (ast.Mult, "arithmetic"),
    ast.Pow: (ast.Mult, "arithmetic"),
    ast.Mod: (ast.Mult, "arithmetic"),
    ast.FloorDiv: (ast.Mult, "arithmetic"),
    ast.Lt: (ast.LtE, "comparison"),
    ast.LtE: (ast.Lt, "comparison"),
    ast.Gt: (ast.GtE, "comparison"),
    ast.GtE: (ast.Gt, "comparison"),
    ast.Eq: (ast.NotEq, "comparison"),
    ast.NotEq: (ast.Eq, "comparison"),
    ast.Is: (ast.IsNot, "comparison"),
    ast.IsNot: (ast.Is, "comparison"),
    ast.In: (ast.NotIn, "comparison"),
    ast.NotIn: (ast.In, "comparison"),
    ast.And: (ast.Or, "logic"),
    ast.Or: (ast.And, "logic"),
}
"""Operators, what takes their place, and the kind of such a change."""

SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
"""Wording of errors, and what decides nothing."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        number: In the order of the file's mutants.
        line, last_line: Of the change.
        kind: Of change.
        before, after: The changed expression, on one line.
        source: The file's text with the change.
    """

    number: int
    line: int
    last_line: int
    kind: str
    before: str
    after: str
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a file, by place."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    modules = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    found = []
    for node, after, kind in _changes(tree, modules):
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        text = source.encode()
        mutated = (text[:begin] + after.encode() + text[end:]).decode()
        found.append((begin, end, node.lineno, node.end_lineno, kind, " ".join(text[begin:end].decode().split()), after, mutated))
    found.sort(key=lambda change: change[:2])
    return [Mutant(number, *change[2:]) for number, change in enumerate(found)]


def _changes(node: ast.AST, modules: set[str]) -> Iterator[tuple[ast.expr, str, str]]:
    """Nodes with the text that takes their place, and the kind of the change."""
    if isinstance(node, SKIPPED) or _is_about_types(node) or _is_list_of_names(node):
        return
    yield from _of_node(node, modules)
    for field, value in ast.iter_fields(node):
        if field == "decorator_list":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (field in ("annotation", "returns") and not _checks_options(child)):
                yield from _changes(child, modules)


def _of_node(node: ast.AST, modules: set[str]) -> Iterator[tuple[ast.expr, str, str]]:
    match node:
        case ast.Constant(value=bool(value)):
            yield node, str(not value), "truth"
        case ast.Constant(value=int(value)):
            yield node, str(value + 1), "number"
        case ast.Constant(value=float(value)):
            yield node, repr(2 * value or 1.0), "number"
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            yield node, f"(({ast.unparse(right)}) @ ({ast.unparse(left)}))", "order"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED:
            new, kind = SWAPPED[type(op)]
            yield node, f"({ast.unparse(ast.BinOp(left, new(), right))})", kind
        case ast.AugAssign(op=op) if type(op) in SWAPPED:
            new, kind = SWAPPED[type(op)]
            yield node, ast.unparse(ast.AugAssign(node.target, new(), node.value)), kind
        case ast.Compare(left=left, ops=[op, *rest]):
            new, kind = SWAPPED[type(op)]
            yield node, f"({ast.unparse(ast.Compare(left, [new(), *rest], node.comparators))})", kind
        case ast.BoolOp(op=op, values=values):
            new, kind = SWAPPED[type(op)]
            yield node, f"({ast.unparse(ast.BoolOp(new(), values))})", kind
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield node, f"({ast.unparse(operand)})", "logic" if isinstance(node.op, ast.Not) else "arithmetic"
        case ast.If(test=test) | ast.IfExp(test=test):
            yield test, "True", "branch"
            yield test, "False", "branch"
        case ast.Expr(value=ast.Call() as call):
            yield call, "...", "call left out"
        case ast.Attribute(value=value, attr="mT"):
            yield node, f"({ast.unparse(value)})", "call left out"
        case ast.Call(func=ast.Attribute(value=value)) if not _is_name_of(value, modules):
            yield node, f"({ast.unparse(value)})", "call left out"
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg is not None:
                fewer = ast.Call(node.func, node.args, [other for other in node.keywords if other is not keyword])
                yield node, ast.unparse(fewer), "argument left out"


def _is_name_of(node: ast.expr, modules: set[str]) -> bool:
    """Whether it is a module, `self`, or a part of a module: a call on those cannot be left out."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and (node.id in modules or node.id in ("self", "OPS"))


def _checks_options(annotation: ast.AST) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(annotation))


def _is_about_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_list_of_names(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
