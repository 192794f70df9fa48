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
        "tuner/watchdog.py",
    },
    "mlflow": {"tuner/mirror.py", "tuner/mlflow_store.py"},
    "plotly": {"reports/drawing.py"},
    "optuna": {
        "reports/importance.py",
        "tuner/ledger.py",
        "tuner/ledger_values.py",
        "tuner/stores.py",
        "tuner/lease.py",
        "tuner/study_tables.py",
        "tuner/drawing.py",
        "tuner/samplers.py",
    },
    "sqlite3": {
        "tuner/backup.py",
        "tuner/ledger_rows.py",
        "tuner/mlflow_store.py",
        "tuner/recovery.py",
        "tuner/repair_plan.py",
        "tuner/restoration.py",
        "tuner/store_check.py",
        "tuner/stores.py",
    },
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
        "trainables/predict/__main__.py",
        "tuner/cluster.py",
        "tuner/doctor.py",
        "tuner/search.py",
        "tuner/export.py",
        "tuner/tracking.py",
        "reports/build.py",
        "reports/leaderboard.py",
    },
    **{
        name: set()
        for name in (
            "pickle",
            "_pickle",
            "cloudpickle",
            "dill",
            "joblib",
            "shelve",
            "marshal",
            "copyreg",
            "skops",
            "runpy",
            "code",
        )
    },
    "ctypes": {"trainables/memory.py"},
    **{name: set() for name in ("xml", "zipfile", "tarfile", "imp")},
}
"""The files in which a library may be imported, anywhere in the file."""


FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "importlib.import_module", "input", "os.system", "os.popen", "tempfile.mktemp"),
    *("yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("yaml.safe_dump", "yaml.safe_dump_all", "yaml.dump_all"),
    *("torch.hub.load", "torch.jit.load", "torch.export.load", "torch.package.PackageImporter"),
    *("torch.serialization.add_safe_globals", "numpy.fromfile", "pandas.read_pickle", "shutil.unpack_archive"),
    *("mlflow.pyfunc.load_model", "mlflow.pytorch.load_model", "ray.cloudpickle.loads", "ray.cloudpickle.load"),
}
"""Calls that run code that comes with data, or may."""
NEEDED = (
    ("torch.load", "weights_only", "True"),
    ("yaml.load", "Loader", "PlainLoader"),
    ("yaml.compose", "Loader", "PlainLoader"),
    ("yaml.dump", "Dumper", "PlainDumper"),
    ("numpy.load", "allow_pickle", "False"),
    (".from_pretrained", "trust_remote_code", "False"),
    ("ForCausalLM.from_pretrained", "use_safetensors", "True"),
)
"""Ends of calls, a keyword that they must have, and its value."""
NEVER = ("trust_remote_code", "allow_pickle", "shell")
"""Keywords that no call may have, unless as False."""


def imports_of(tree: ast.AST) -> Iterator[str]:
    """First names of all modules that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def real_names(tree: ast.AST) -> dict[str, str]:
    """What the names that a file imports are called where they come from: `np` is `numpy`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden_in(tree: ast.AST) -> Iterator[str]:
    """What can run code that comes with data."""
    imported = real_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader"}:
            yield "a loader that makes objects"
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield from forbidden_call(imported.get(first, first) + dot + rest, node)


def forbidden_call(called: str, node: ast.Call) -> Iterator[str]:
    """What is wrong with the call of a function, whose name is that of where it comes from."""
    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if called in FORBIDDEN:
        yield called
    if called == "json.load" or (called == "json.loads" and "read_text" in ast.unparse(node)):
        yield "a JSON file read without limits"
    for name, word, value in NEEDED:
        if called.endswith(name) and words.get(word) != value:
            yield f"{name.removeprefix('.')} without {word}={value}"
    yield from (f"{word}={words[word]}" for word in NEVER if words.get(word, "False") != "False")


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
        ("yaml.load(t, Loader=Loader)", "yaml.load without Loader=PlainLoader"),
        ("yaml.load(t, Loader=PlainLoader)", None),
        ("yaml.load(t, Loader=make())", "yaml.load without Loader=PlainLoader"),
        ("from yaml import unsafe_load as read\nread(t)", "yaml.unsafe_load"),
        ("import torch as t\nt.load(p)", "torch.load without weights_only=True"),
        ("class L(yaml.FullLoader): pass", "a loader that makes objects"),
        ("json.loads(path.read_text())", "a JSON file read without limits"),
        ("json.loads(text)", None),
        ("AutoTokenizer.from_pretrained(n, trust_remote_code=False)", None),
        ("AutoTokenizer.from_pretrained(n)", "from_pretrained without trust_remote_code=False"),
        ("load_dataset(n, trust_remote_code=yes)", "trust_remote_code=yes"),
        ("f(p, allow_pickle=True)", "allow_pickle=True"),
        ("import numpy as np\nnp.load(p)", "numpy.load without allow_pickle=False"),
        ("eval(t)", "eval"),
        ("ast.literal_eval(t)", None),
        ("import os as o\no.system(t)", "os.system"),
        ("subprocess.run(c, shell=True)", "shell=True"),
    ],
)
def test_the_search_for_it_finds_it(code: str, found: str | None) -> None:
    assert list(forbidden_in(ast.parse(code))) == ([found] if found else [])


@pytest.mark.parametrize(("library", "owner"), [(library, owner) for library in OWNERS for owner in sorted(OWNERS[library])])
def test_owners_import_what_they_own(library: str, owner: str) -> None:
    assert library in set(imports_of(ast.parse((ROOT / owner).read_text(encoding="utf-8"))))


def test_the_safe_loader_is_safe() -> None:
    tree = ast.parse((ROOT / "trainables/plain_files.py").read_text(encoding="utf-8"))
    [loader] = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "PlainLoader"]
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


def test_yaml_is_read_in_one_place() -> None:
    reading = ("yaml.load(", "yaml.safe_load(", "yaml.compose(", "yaml.scan(", "yaml.parse(")
    assert {name for name in NAMES if any(call in (ROOT / name).read_text() for call in reading)} == {"trainables/plain_files.py"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("tuner.search", {"torch", "ray", "mlflow", "transformers", "scipy", "plotly"}),
        ("tuner.referee", {"torch", "ray", "mlflow"}),
        ("reports.leaderboard", {"torch", "ray", "mlflow", "scipy", "plotly"}),
        ("reports.build", {"torch", "ray", "mlflow", "transformers"}),
        ("trainables.inputs", {"torch", "ray", "optuna", "transformers"}),
        ("trainables.trainer", {"ray", "optuna", "mlflow", "transformers"}),
        ("trainables.trainable", {"torch", "optuna", "mlflow"}),
        ("trainables.predict.__main__", {"torch", "ray", "optuna", "mlflow", "transformers"}),
        ("trainables.predict.model", {"ray", "optuna", "mlflow", "transformers"}),
        ("search_spaces.registry", {"torch", "ray", "optuna", "numpy"}),
    ],
)
def test_what_is_heavy_is_imported_only_where_it_is_needed(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({absent} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
