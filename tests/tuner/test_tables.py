import re

from hypothesis import given
from hypothesis import strategies as st

from tuner.tables import Column, as_markdown

CELLS = st.text("ab|\\`<>*_#&\n\x1b", max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_no_cell_breaks_a_table_in_markdown(rows: list[tuple[str, str]]) -> None:
    columns = [Column(f"c{n}", tuple(row[n] for row in rows)) for n in range(2)]
    lines = as_markdown(columns)
    assert len(lines) == len(rows) + 2
    for line in lines:
        assert "\n" not in line and "\x1b" not in line
        unescaped = re.sub(r"\\.", "", line)
        assert unescaped.count("|") == 3 and not set(unescaped) & set("<>*`")


def test_numbers_stand_at_the_right() -> None:
    assert as_markdown([Column("n", ("1",)), Column("s|t", ("a_b",), is_number=False)]) == [
        "| n | s\\|t |",
        "|---:|---|",
        "| 1 | a\\_b |",
    ]
