import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.formulas import evaluate_formula, names_in

NUMBERS = st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3)
BINARY = "({0[0]} {0[1]} {0[2]})".format
LEAVES = st.sampled_from(["a", "b"]) | NUMBERS.map(repr)
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(BINARY) | inner.map("-{}".format),
    max_leaves=8,
)


@given(FORMULAS, NUMBERS, NUMBERS)
def test_a_formula_means_what_python_means(formula: str, a: float, b: float) -> None:
    try:
        expected = float(eval(formula, {"__builtins__": {}}, {"a": a, "b": b}))
    except ZeroDivisionError:
        expected = math.nan
    assert evaluate_formula(formula, {"a": a, "b": b}) == pytest.approx(expected, nan_ok=True)
    assert set(names_in(formula)) <= {"a", "b"}


REFUSED = ["", "a +", "a ** 2", "a.b", "f(a)", "a if b else 1", "'a'", "True", "[a]", "a; b", "a < b", "1j", "a\x00", "(" * 500]


@pytest.mark.parametrize("formula", [*REFUSED, "__import__('os')"])
def test_whatever_else_python_knows_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match="must stand here"):
        names_in(formula)
    with pytest.raises(ValueError, match="must stand here"):
        evaluate_formula(formula, {"a": 1, "b": 1})


def test_names_come_once_and_in_order_and_need_values() -> None:
    assert names_in(" b + a * b ") == ["b", "a"]
    with pytest.raises(KeyError, match="a"):
        evaluate_formula("a", {})


def test_a_formula_has_an_end() -> None:
    with pytest.raises(ValueError, match="at most 2000 characters"):
        names_in("a" + "+a" * 1000)
