"""What MLflow's page of a search begins with, in Markdown: what leads, what is claimed of it, how to come to it again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from reports.leaderboard import RANKING, Leaderboard, build_leaderboard, full_budget_examples, markdown
from trainables.config import tasks_of
from tuner.console import visible
from tuner.records import TrialRecord, config_in_words, searched, standing
from tuner.search_folder import BEST, SETTINGS_FILE
from tuner.settings import SearchSettings

NOTE_TAG = "mlflow.note.content"
NOT_CONFIRMED = "not confirmed"
_MAX_NOTE = 8000
"""Characters that MLflow takes as the value of a tag."""
_ROWS = (10, 5, 3, 1)
"""How many of the best trials are shown: the first number whose note is short enough."""
NO_SAY = ("space", "keep_models", "ledger", "storage", "tracking_uri", "register_as")
"""Settings that the command of a search does without: the space stands in its file, the others say where things are kept."""
_OF_A_SPACE = ("searcher", "trials", "early_stopping", "reduction_factor", "audit_share", "confirm", "confirm_seeds")
_OF_A_STUDY = ("study", "rows", "seeds")


def note(
    header: Mapping[str, Any],
    records: Sequence[TrialRecord],
    folder: Path,
    *,
    over: bool,
    claim: str = "",
    winner: TrialRecord | None = None,
) -> str:
    """The description of a search; the same from the same ledger, and at most as long as MLflow takes it.

    While the search goes on it changes only with a trial that ends, so that it need not be sent with every report.

    Args:
        header: of the ledger.
        records: of the ledger.
        folder: of the search.
        over: no driver is at work any more.
        claim: what is claimed of the winner, as a sentence; empty: it was not confirmed.
        winner: the trial whose model is exported; named once the search is over.
    """
    shown = [record for record in searched(records) if over or record.ended is not None]
    board = _board(header, shown)
    begin = [
        _found(board, len(shown), winner if over else None),
        f"Claim: {visible(claim) or NOT_CONFIRMED}",
        _asked_for(header, shown),
    ]
    end = _again(header, folder, over=over)
    tables = [[markdown(replace(board, rows=board.rows[:num])), RANKING] for num in _ROWS if board.rows]
    texts = ("\n\n".join([*begin, *table, end]) for table in [*tables, []])
    return next((text for text in texts if len(text) <= _MAX_NOTE), "\n\n".join([*begin, end])[:_MAX_NOTE])


def _board(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> Leaderboard:
    """The best of them; all, where there may be thousands, take too long for a mirror that looks each second."""
    best = sorted(records, key=standing)[: _ROWS[0]]
    return build_leaderboard(best, full_budget_examples(header, records), tasks_of(header.get("base") or {}))


def _found(board: Leaderboard, num_trials: int, winner: TrialRecord | None) -> str:
    best = board.rows[0] if board.rows and board.rows[0].rank == 1 else None
    if best is None:
        return "No trial has a score yet."
    so_far = "" if best.state == "complete" else ", without its full budget"
    found = f"Best search score of {num_trials} trials: **trial {best.trial}, score {best.score:.4f}**{so_far}"
    return f"{found}; {_winner(winner)}." if winner is not None else f"{found}."


def _winner(winner: TrialRecord) -> str:
    again = winner.confirms
    what = f", {config_in_words(again.trial)} trained again with the new seed {again.repeat + 1}" if again is not None else ""
    return f"winner: **trial {winner.number}**{what}"


def _asked_for(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> str:
    """The search in a sentence."""
    settings, base = header.get("settings") or {}, header.get("base") or {}
    if settings.get("study"):
        what = f"Every row of the study {_code(settings['study'])}"
    else:
        space, searcher, early_stopping = (_code(settings.get(key)) for key in ("space", "searcher", "early_stopping"))
        what = f"A search of the space {space} with {searcher} and {early_stopping}"
    encoder, data = ((base.get(part) or {}).get(key) for part, key in (("encoder", "name"), ("data", "source")))
    counts = Counter(record.state for record in records)
    ended = ", ".join(f"{counts[state]} {state}" for state in sorted(counts)) or "none has ended yet"
    return f"{what}, encoder {_code(encoder)}, data {_code(data)}. Trials: {ended}."


def _again(header: Mapping[str, Any], folder: Path, *, over: bool) -> str:
    """Where it lies, and the commands that give it again."""
    here = folder.resolve()
    lines = [f"DIR={quote(visible(str(here)))}", 'python -m reports.leaderboard "$DIR"   # all trials']
    if over and (here / BEST / "config.yaml").is_file():
        lines.append(f'python -m trainables.train --config "$DIR"/{BEST}/config.yaml   # the winner, trained again')
    lines += ["# the whole search, begun anew:", f'{_search_command(header)} --out "$DIR"-again']
    return "\n".join([*_code_version(header.get("lineage") or {}), "```bash", *lines, "```"])


def _code_version(lineage: Mapping[str, Any]) -> list[str]:
    commit = lineage.get("git_commit")
    return [f"Code: commit {_code(commit)}{', and changes' if lineage.get('git_dirty') else ''}.", ""] if commit else []


def _search_command(header: Mapping[str, Any]) -> str:
    """What begins the same search with the space and the config in its `settings.yaml`; a study's rows come from its name."""
    settings, file = header.get("settings") or {}, f'"$DIR"/{SETTINGS_FILE}'
    of_study = bool(settings.get("study"))
    options = [f"--config {file}"] if of_study else [f"--space {file}", f"--config {file}"]
    for key, setting in SearchSettings.model_fields.items():
        value = settings.get(key)
        if key in (*NO_SAY, *(_OF_A_SPACE if of_study else _OF_A_STUDY)) or value in (None, "", [], setting.default):
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else f"{value}{'s' * key.endswith('_seconds')}"
        options.append(f"--{key.removesuffix('_seconds').replace('_', '-')} {quote(visible(text))}")
    by_hand = (header.get("space") or {}).get("by_hand") or {}
    options += [f"--set {quote(visible(f'{path}={json.dumps(value)}'))}" for path, value in by_hand.items()]
    return " ".join(["python -m tuner.search", *options])


def _code(value: Any) -> str:
    return "`" + visible(str(value)).replace("`", "'") + "`"
