import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.cs224n import parse_label, read_bytes, read_file, separator_of
from trainables.tasks import CS224N, QQP, SST, STS

HEADER = "\tid\tsentence1\tsentence2\tsimilarity\n"


def read(tmp_path: Path, content: str | bytes, task=STS, labelled=True):
    path = tmp_path / "file.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, task, labelled=labelled)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60)
@given(st.lists(st.tuples(cells, cells, cells, st.floats(0, 5) | st.just("")), max_size=8))
def test_every_row_is_used_or_listed_or_a_problem(tmp_path_factory, rows):
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)  # else it leaves a lone \\r bare
    writer.writerows([HEADER.strip("\n").split("\t"), *([0, *row] for row in rows)])
    file = read(tmp_path_factory.mktemp("rows"), sink.getvalue())
    assert file.num_rows == len(rows)
    bad = [p for p in file.problems if "no row" not in p]
    assert file.num_rows == len(file.ids) + len(file.left_out) + len(bad)
    expected = [row for row in rows if all(str(cell).strip() for cell in row)]
    if not bad:
        assert [(*row,) for row in zip(file.ids, *file.sentences, file.labels, strict=True)] == expected


@settings(max_examples=60)
@given(st.lists(cells.filter(lambda text: text.strip() and not ("\t" in text and "\n" in text)), min_size=1, max_size=8))
def test_lines_are_where_the_rows_start(tmp_path_factory, texts):
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["", "id", "sentence", "sentiment"])
    starts = []
    for text in texts:
        starts.append(1 + sum(1 for _ in io.StringIO(sink.getvalue(), newline="")))
        writer.writerow([0, "x", text, ""])
    file = read(tmp_path_factory.mktemp("lines"), sink.getvalue(), SST)
    assert [row.line for row in file.left_out] == starts


def test_reads_as_dict_reader_does(tmp_path):
    content = HEADER + '1\ta\t"He said ""no"", twice"\tplain " quote\t2.5\r\n\n2\tb\t"two\nlines"\tü\t0\n'
    file = read(tmp_path, content)
    expected = [
        (row["id"], row["sentence1"], row["sentence2"], float(row["similarity"]))
        for row in csv.DictReader(io.StringIO(content, newline=""), delimiter="\t")
    ]
    assert list(zip(file.ids, *file.sentences, file.labels, strict=True)) == expected
    assert file.rows().labels.dtype == np.float32


def test_empty_cells_are_listed_with_line_and_column(tmp_path):
    file = read(tmp_path, HEADER + '1\ta\t"x\ny"\tz\t1\n2\tb\t \tz\t1\n3\tc\tx\tz\t\n4\td\tx\n')
    assert [str(row) for row in file.left_out] == [
        "file.csv line 4, column sentence1: empty",
        "file.csv line 5, column similarity: empty",
        "file.csv line 6, column sentence2, similarity: empty",
    ]
    assert (file.num_rows, file.ids, file.problems) == (4, ["a"], [])


def test_test_files_need_no_label(tmp_path):
    file = read(tmp_path, "\tid\tsentence\n0\tt\thello\n1\tu\t\n", SST, labelled=False)
    assert (file.ids, file.labels, len(file.left_out)) == (["t"], None, 1)
    assert file.rows().labels is None
    assert read(tmp_path, "\tid\tsentence\tsentiment\n0\tt\thello\t\n", SST, labelled=False).ids == ["t"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfid\tsentence\tsentiment\nt\thello\t1\n", SST).ids == ["t"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b" \n\n", ["empty"]),
        (HEADER.encode(), ["no row that can be used"]),
        (HEADER.encode() + b"1\ta\tcaf\xe9\tx\t1\n", ["line 2", "0xe9", f"byte {len(HEADER) + 7}"]),
        (HEADER.encode() + b"1\ta\tx\x00\tx\t1\n", ["line 2", "NUL"]),
        (HEADER.encode() + b"1\ta\tx\ty\t1\textra\n", ["line 2", "6 cells", "header of 5"]),
        (HEADER.encode() + b"1\ta\tx\ty\tmany\n", ["line 2", "column similarity", "'many'"]),
        (HEADER.encode() + b"1\ta\tx\ty\t5.1\n", ["line 2", "0 to 5", "'5.1'"]),
        (HEADER.encode() + b"1\ta\tx\ty\tnan\n", ["line 2", "'nan'"]),
        (HEADER.encode() + b'1\ta\tx\ty\t1\n2\tb\t"x\ty\t1\n3\tc\tx\ty\t1\n', ["line 3", "never closed"]),
        (HEADER.encode() + b'1\ta\t"x\ty\t1\n2\tb\tx"\ty\t1\n', ["line 2", "quote"]),
        (HEADER.encode() + b'1\ta\t"' + b"x" * 140_000 + b'"\ty\t1\n', ["line 2", "field larger"]),
        (b"\tid\tsentence_1\tsentence2\tsimilarity\n1\ta\tx\ty\t1\n", ["no column 'sentence1'", "did you mean sentence_1?"]),
        (b"\tid\tsentence1\tsentence2\tid\tsimilarity\n", ["'id' stands 2 times"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, words):
    problems = read(tmp_path, content).problems
    assert problems
    assert all(word in problems[0] for word in ["file.csv", *words]), problems


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path):
    assert "cannot be read" in read_file(tmp_path, SST, labelled=True).problems[0]


@pytest.mark.parametrize("task", CS224N.tasks, ids=CS224N.by_name)
def test_labels_keep_to_their_range(task):
    assert parse_label(f"{task.label_low:g}", task) == task.label_low
    assert parse_label(f" {task.label_high:.1f}", task) == task.label_high
    for text in (str(task.label_low - 1), str(task.label_high + 1), "nan", "inf", "x", ""):
        with pytest.raises(ValueError, match=f"{task.label_low:g} to {task.label_high:g}"):
            parse_label(text, task)


def test_classes_are_whole_and_scores_need_not_be():
    assert parse_label("2.5", STS) == 2.5
    for task in (SST, QQP):
        with pytest.raises(ValueError, match="whole number"):
            parse_label("0.5", task)


@pytest.mark.parametrize(
    ("header", "separator"), [("id\ttext, and more", "tab"), ("id,text", "comma"), ("text", "tab"), ("", "tab")]
)
def test_what_separates_is_seen_in_the_first_line(header, separator):
    assert separator_of(header, "tab") == separator


def test_a_file_that_is_read_already_reads_the_same(tmp_path):
    content = HEADER + "1\ta\tx\ty\t2.5\n2\tb\tx\n3\tc\tx\ty\t9\n"
    assert read_bytes(content.encode(), tmp_path / "file.csv", STS, labelled=True) == read(tmp_path, content)
