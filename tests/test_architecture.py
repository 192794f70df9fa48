"""Who may import what, beyond the layers that import-linter checks; and what is never to be found in the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("trainables", "search_spaces", "tuner", "reports")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

OWNERS = {
    "ray": {
        "trainables/trainable.py",
        "tuner/cluster.py",
        "tuner/cluster_join.py",
        "tuner/cluster_probe.py",
        "tuner/runner.py",
        "tuner/scheduler.py",
        "tuner/searcher.py",
    },
    "mlflow": {"tuner/tracking.py"},
    "optuna": {
        "tuner/ledger.py",
        "tuner/stores.py",
        "tuner/lease.py",
        "tuner/study_tables.py",
        "tuner/drawing.py",
        "tuner/samplers.py",
    },
    "sqlite3": {"tuner/stores.py", "tuner/tracking.py"},
    "datasets": {"trainables/data/hub.py"},
    "transformers": {"trainables/outside/labelling.py"},
    "huggingface_hub": {"trainables/encoder_files.py"},
    "tokenizers": {"trainables/encoder_files.py", "trainables/data/wordpiece.py"},
    "scipy": {"reports/beside_paper.py"},
    "jsonschema": {"tuner/cluster_file.py"},
    "typer": {
        "search_spaces/list.py",
        "trainables/train.py",
        "trainables/outside/__main__.py",
        "tuner/cluster.py",
        "tuner/search.py",
        "tuner/export.py",
        "tuner/tracking.py",
        "reports/leaderboard.py",
    },
    "pickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
    "marshal": set(),
}
"""The files in which a library may be imported, anywhere in the file."""


def imports_of(tree: ast.AST) -> Iterator[str]:
    """First names of all modules that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def forbidden_in(tree: ast.AST) -> Iterator[str]:
    """What can run code that comes with data."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and keywords.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if called in {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "eval", "exec"}:
            yield called
        if called == "yaml.load" and keywords.get("Loader") != "_Loader":
            yield "yaml.load without the safe loader"
        if "trust_remote_code" in keywords:
            yield "trust_remote_code"
        if keywords.get("allow_pickle") == "True":
            yield "allow_pickle"
        if keywords.get("shell") == "True":
            yield "a shell"


@pytest.mark.parametrize("name", NAMES)
def test_a_library_is_imported_by_its_owners_alone(name: str) -> None:
    imported = set(imports_of(ast.parse((ROOT / name).read_text(encoding="utf-8"))))
    assert [library for library, owners in OWNERS.items() if library in imported and name not in owners] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_code_that_comes_with_data(name: str) -> None:
    assert list(forbidden_in(ast.parse((ROOT / name).read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("torch.load(p)", "torch.load without weights_only=True"),
        ("torch.load(p, weights_only=False)", "torch.load without weights_only=True"),
        ("torch.load(p, weights_only=True)", None),
        ("yaml.load(t, Loader=yaml.Loader)", "yaml.load without the safe loader"),
        ("yaml.load(t, Loader=_Loader)", None),
        ("AutoModel.from_pretrained(n, trust_remote_code=False)", "trust_remote_code"),
        ("np.load(p, allow_pickle=True)", "allow_pickle"),
        ("subprocess.run(c, shell=True)", "a shell"),
    ],
)
def test_the_search_for_it_finds_it(code: str, found: str | None) -> None:
    assert list(forbidden_in(ast.parse(code))) == ([found] if found else [])


@pytest.mark.parametrize(("library", "owner"), [(library, owner) for library in OWNERS for owner in sorted(OWNERS[library])])
def test_owners_import_what_they_own(library: str, owner: str) -> None:
    assert library in set(imports_of(ast.parse((ROOT / owner).read_text(encoding="utf-8"))))


def test_the_safe_loader_is_safe() -> None:
    tree = ast.parse((ROOT / "trainables/paths.py").read_text(encoding="utf-8"))
    [loader] = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "_Loader"]
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("tuner.search", {"torch", "ray", "mlflow", "transformers", "scipy"}),
        ("tuner.referee", {"torch", "ray", "mlflow"}),
        ("reports.leaderboard", {"torch", "ray", "mlflow", "scipy"}),
        ("trainables.inputs", {"torch", "ray", "optuna", "transformers"}),
        ("trainables.trainer", {"ray", "optuna", "mlflow", "transformers"}),
        ("trainables.trainable", {"torch", "optuna", "mlflow"}),
        ("search_spaces.registry", {"torch", "ray", "optuna", "numpy"}),
    ],
)
def test_what_is_heavy_is_imported_only_where_it_is_needed(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({absent} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
