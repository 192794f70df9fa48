"""Arithmetic over named numbers, as a user writes it: `(sst_accuracy + (sts_pearson + 1) / 2) / 2`."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_LENGTH = 2000

V = TypeVar("V")


def names_in(formula: str) -> list[str]:
    """The names that a formula reads, each once, in order.

    Raises:
        ValueError: anything but names, numbers, `+ - * /` and brackets stands in it.
    """
    return list(dict.fromkeys(node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name)))


def evaluate_formula(formula: str, values: Mapping[str, V]) -> V:
    """The formula's value; NaN where it divides by 0.

    Args:
        formula: as `names_in` takes it.
        values: of all names in it: numbers, or arrays of one shape, of which numpy says what a division by 0 is.

    Raises:
        ValueError: it is no formula.
        KeyError: a name has no value.
    """
    try:
        return cast(V, _value(_parse(formula), values))
    except ZeroDivisionError:
        return cast(V, float("nan"))


def _parse(formula: str) -> ast.expr:
    if len(formula) > _MAX_LENGTH:
        raise ValueError(f"a formula has at most {_MAX_LENGTH} characters, but got {len(formula)}")
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"names, numbers, + - * / and brackets must stand here, but got {formula!r}") from None
    for node in ast.walk(tree):
        if not _is_allowed(node):
            raise ValueError(f"names, numbers, + - * / and brackets must stand here, but got {ast.unparse(node)!r}")
    return tree


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.BinOp):
        return type(node.op) in _OPERATORS
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub)
    return isinstance(node, ast.Name | ast.Load | ast.USub) or type(node) in _OPERATORS


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, values)
    if isinstance(node, ast.Name):
        return 1.0 * values[node.id]
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int | float)
    return float(node.value)
