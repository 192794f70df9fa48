from pathlib import Path

import pytest

from reports.mistakes import parse_predictions, read_mistakes
from tests.reports.an_export import SAMPLE, SAMPLE_HASHES, an_export
from trainables.config_parts import DataConfig
from trainables.data.reading import read_dev
from trainables.tasks import CS224N, QQP, STS


@pytest.fixture
def files(tmp_path: Path) -> DataConfig:
    data = tmp_path / "data"
    data.mkdir()
    lines = ["q1\tHow?\tWhy?\t0", "q2\tIs it so?\tIs <b>that</b> so?\t1", "q3\tA\tB\t0"]
    (data / "quora-dev.csv").write_text("\n".join(["id\tsentence1\tsentence2\tis_duplicate", *lines]) + "\n")
    (data / "sts-dev.csv").write_text("id\tsentence1\tsentence2\tsimilarity\ns1\ta\tb\t1.5\ns2\tc\td\t4.0\n")
    return DataConfig(source=str(data))


def hashes(data: DataConfig) -> dict[str, str]:
    return {name: sha256 for _, name, sha256 in (read_dev(data, task) for task in (QQP, STS))}


def test_what_the_exported_model_gets_wrong(tmp_path: Path, files: DataConfig) -> None:
    found = read_mistakes(an_export(tmp_path, wanted=files), CS224N, files, hashes(files))
    assert (found.trial, found.missing) == (7, ())
    assert [one.title for one in found.confusions] == ["SST-5 sentiment", "Quora paraphrase"]
    assert found.confusions[0].recalls == (1, None, 0.5, None, 1)
    [scatter] = found.scatters
    assert scatter.points == ((1.5, 2.5), (4.0, 5.0))
    [worst] = found.worst
    assert worst.is_ranked
    first, second = worst.rows
    assert (first.texts, first.label, first.predicted, first.probability) == (
        ("Is it so?", "Is <b>that</b> so?"),
        "yes",
        "no",
        0.01,
    )
    assert (second.texts, second.label) == (("How?", "Why?"), "no")


def test_of_an_export_that_ranks_none_the_errors_come_as_they_stand(tmp_path: Path, files: DataConfig) -> None:
    [worst] = read_mistakes(an_export(tmp_path, worst=None, wanted=files), CS224N, files, hashes(files)).worst
    assert not worst.is_ranked
    assert [(row.id, row.label, row.probability) for row in worst.rows] == [
        ("q1", "no", None),
        ("q2", "yes", None),
        ("q3", "no", None),
    ]


def test_data_that_have_changed_are_not_shown_and_the_errors_stand_without_texts(tmp_path: Path, files: DataConfig) -> None:
    found = read_mistakes(an_export(tmp_path, wanted=files), CS224N, files, {"quora-dev.csv": "0"})
    assert found.scatters == ()
    assert [row.texts for row in found.worst[0].rows] == [(), ()]
    assert [line.rpartition(": ")[2] for line in found.missing] == [
        "quora-dev.csv has changed since the search began",
        "sts-dev.csv has changed since the search began",
    ]


def test_data_that_are_gone_are_told(tmp_path: Path) -> None:
    found = read_mistakes(an_export(tmp_path), CS224N, DataConfig(source=str(tmp_path / "gone")), {})
    assert len(found.missing) == 2
    assert "no such folder" in found.missing[0]
    assert len(found.confusions) == 2


def test_the_hub_is_not_asked(tmp_path: Path) -> None:
    found = read_mistakes(an_export(tmp_path), CS224N, DataConfig(source="hub"), {})
    assert "hub" in found.missing[0]


def test_the_sample_is_there_without_files(tmp_path: Path) -> None:
    found = read_mistakes(an_export(tmp_path), CS224N, SAMPLE, SAMPLE_HASHES)
    assert len(found.scatters[0].points) == 300
    assert found.missing == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "nothing is exported yet"),
        ("{}", "an older export"),
        ('{"dev": 1}', "TypeError"),
        ("[", "Error"),
        ("[]", "TypeError"),
    ],
)
def test_without_an_export_one_sentence_stands(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "best").mkdir()
        (tmp_path / "best/metrics.json").write_text(content)
    found = read_mistakes(tmp_path, CS224N, SAMPLE, SAMPLE_HASHES)
    assert (found.trial, found.confusions, found.worst) == (None, (), ())
    assert said in found.missing[0]


def test_lost_predictions_are_told(tmp_path: Path) -> None:
    folder = an_export(tmp_path)
    (folder / "best/predictions/sts-dev-output.csv").unlink()
    found = read_mistakes(folder, CS224N, SAMPLE, SAMPLE_HASHES)
    assert found.scatters == ()
    assert found.missing[0].startswith("STS-B similarity: best/predictions does not say it")


def test_predictions_are_read_back() -> None:
    assert parse_predictions("id \t P \na , 1.0 \nb , c , 0.5 \n") == {"a": 1.0, "b , c": 0.5}
    with pytest.raises(ValueError, match="finite"):
        parse_predictions("id\na , nan \n")
