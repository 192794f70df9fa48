"""`reproduce.sh`: the one command that trains an export again, without Ray, with what it was made with in comments."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from trainables.config import TrialConfig
from trainables.config_parts import HUB_SOURCE, SAMPLE_SOURCE
from trainables.data.more_rows import lies_beside, names_beside
from trainables.data.reading import SPLIT_FILES
from tuner.card_parts import code_in_words, kept_part, machine_in_words, packages_in_words, searched_part, the
from tuner.console import visible
from tuner.records import TrialRecord

_SHA256 = re.compile("[0-9a-f]{64}")


def reproduce_script(config: TrialConfig, header: Mapping[str, Any], record: TrialRecord) -> str:
    """The text of a script for bash, which lies beside `config.yaml`.

    Args:
        config: as it stands there.
        header: of the ledger.
        record: of the trial.
    """
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *(f"# {visible(line)}".rstrip() for line in _told(config, record)),
            *_sums(config, header.get("data_hashes") or {}),
            "set -euo pipefail",
            'here=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)',
            *(_choice_of_folder(config) if _is_folder(config) else []),
            'exec "${PYTHON:-python}" -m trainables.train --config "$here/config.yaml" ' + " ".join([*_options(config), '"$@"']),
            "",
        ]
    )


def _is_folder(config: TrialConfig) -> bool:
    return config.data.source not in {SAMPLE_SOURCE, HUB_SOURCE}


def _told(config: TrialConfig, record: TrialRecord) -> Iterator[str]:
    """What a person wants to know before running it."""
    report = record.best_report or {}
    yield "Trains this model again: the same config on the same data, without Ray."
    folder = "[DIR] " if _is_folder(config) else ""
    yield f"Usage: ./reproduce.sh {folder}[options of python -m trainables.train, such as --out again]"
    if _is_folder(config):
        yield f"  DIR: the folder with the data, where it is no longer {config.data.source}"
    yield "It wants the environment of an installed tritune: `python` must be its own, or PYTHON=... must name it."
    yield ""
    share = report.get("dev_share", 1.0)
    part = f"{share:.0%} of {the(searched_part(config))}" if share < 1 else the(searched_part(config))
    kept = f", and {report['confirm']['score']} on {the(kept_part(config))}" if "confirm" in report else ""
    recorded = f"score {report.get('score')} on {part.rstrip(',')}{kept.rstrip(',')}"
    yield f"Recorded: {recorded}, at report {report.get('report')} of {config.num_reports}."
    if record.state != "complete":
        yield "The trial was not trained to its end: the last lines differ, that report's line is the one to look at."
    yield "The score is the same on the same machine, in fp32, with these packages; elsewhere its last digits may differ:"
    yield f"  code: {code_in_words(record.lineage)}"
    yield f"  packages: {packages_in_words(record.lineage)}"
    yield f"  machine: {machine_in_words(record.lineage)}"
    for what, option, place in _other_places(config):
        yield f"It reads {what} {place}; where that has moved: --set {option}=..."


def _other_places(config: TrialConfig) -> Iterator[tuple[str, str, str]]:
    """What else it reads of this machine's folders: a word for it, the path in the config, the folder or file."""
    if Path(config.encoder.name).is_absolute():
        yield "the encoder", "encoder.name", config.encoder.name
    for name, folder in config.objective.distill.teachers.items():
        if folder is not None:
            yield "the teacher", f"objective.distill.teachers.{name}", folder
    for name, files in config.data.more_rows.items():
        for file in files:
            if not lies_beside(file, config.data.source):
                yield "the rows", f"data.more_rows.{name}", file


def _sums(config: TrialConfig, hashes: Mapping[str, str]) -> Iterator[str]:
    """The sums of the data, those of files in the folder in sha256sum's layout."""
    stems = [task.file_stem for task in config.tasks.tasks] if _is_folder(config) else []
    in_folder = {f"{stem}-{suffix}.csv" for stem in stems for suffix in SPLIT_FILES.values()}
    source = config.data.source
    further = [file for files in config.data.more_rows.values() for file in files]
    in_folder |= {Path(file).name for file in further if lies_beside(file, source)}
    good = {name: total for name, total in hashes.items() if _SHA256.fullmatch(total)}
    files = {name: total for name, total in good.items() if name in in_folder}
    if files:
        yield "# Is it the same data?  cd DIR && sed -n 's/^#sha256 //p' .../reproduce.sh | sha256sum --check"
    yield from (f"#sha256 {total}  {visible(name)}" for name, total in files.items())
    yield from (f"# sha256 of {visible(name)}: {total}" for name, total in good.items() if name not in files)


def _choice_of_folder(config: TrialConfig) -> list[str]:
    return [f"data={quote(config.data.source)}", 'if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then data=$1; shift; fi']


def _options(config: TrialConfig) -> Iterator[str]:
    """Of the folder, and of further rows that lie in it: by their names alone they are looked for wherever it is now."""
    if not _is_folder(config):
        return
    yield '--data "$data"'
    for name, files in names_beside(config.data).items():
        yield f"--set {quote(f'data.more_rows.{name}={json.dumps(files, ensure_ascii=False)}')}"
