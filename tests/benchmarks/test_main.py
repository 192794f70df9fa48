from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--data", "/no/such"], "/no/such: no such folder"), (["--only", "speed"], "'speed'")]
)
def test_a_mistake_is_told_before_anything_starts(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "figures.json")])
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())
