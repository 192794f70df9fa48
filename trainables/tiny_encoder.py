"""The `tiny` encoder: a random BERT of 2 layers, 32 wide, for tests and dry runs; the same bytes every time."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np

from trainables.files import write_atomically

SEED = 0
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

WORDS = """
    a absolutely abysmal acting advice against algebra all although amusing an and any anything ape apes app appalling appealing
    are aside at atrocious attention audience automobile average award away awe awkward bad baker bakers ball banana be beach
    bear bears before beginner behind benefits berlin best better bicycle big bigger bike biopic bland bombay book bore both boy
    boys breath breathtaking brilliant broken but buy by camera can caper car carrot carrying cart cast cat catastrophe catching
    cats charmer charming chasing check chef chefs chess chewing chicago child children choose chore cigarettes city clean
    cleaning clever clumsy coding comedy comes complete computer contrived conventional cook cooking cooks cost couch could
    crowd cutting dancer dancers dancing dangerous dazzling deeply delight deserves design dialogue did difficult dirt
    disappointment disaster disastrous do documentary does dog dogs drama drawbacks drawing dreadful drone drum dublin dull each
    early eat eating editing end ending engaging enjoyable even evening every exactly excruciating exhilarating expensive
    explain extraordinary fable fail fails failure fairly familiar far faster fastest feel fiddle film find fine first fix flat
    flawless flute food for forget forgettable french fridge friends frisbee from functions gain garden genius get girl girls
    give giving go good graceful grass guitar guy guys half hard hardly has have held helps hired holding home hopeless
    horrendous horse horses hound hounds hour house how humor hurt i ideas if impression improve in incompetent incredibly
    insufferable insult is it its job keep kept kid kids kitchen kitten kittens knockout ladies lady lake landmark laptop late
    laughable lawn lead learn learning leave leaves left less lessons let letdown level life likable little live lively living
    london long look looking lose lounge love machine made madrid magnificent make makes man many map master masterful
    masterpiece me means meet melon men mended microwave middling mildly misfire mobile money monkey monkeys month months more
    move movie much muddled mumbai musical musician musicians my mystery names need neither never new newcomer no nor not
    notebook of off old on one or ordinary out over pacing painful panda pandas paris park parlor passable past patience peeling
    people performance performer performers phenomenal phone photo photography photos piano pick picture place places playing
    pleasant pleaser pleasure plot ponies pony potato pounds predictable prefer premise preparing principle printer program
    programming public puppies puppy purchase pursuing pushing put quit quite rainy rather reading recommend refrigerator remake
    remember repair repulsive residents restaurants revelation riding right risks river road romance route routine run running
    runs safe satire satisfying save scooter score script second secure see seen sell sequel serviceable set several shallow
    shed shore should shoving sights singapore singer singers sit sketching sleep slicing slog sluggish small smaller smart
    smiling smoking so sofa software solid some someone somewhat spanish speaking speaks speeches speed stage stale standard
    started stay stick stop story storytelling straightforward stream street stunning sublime superb supporting sweet swimming
    sydney take taking teach tedious television than that the there thin thing this thoroughly three thriller through throwing
    tiger tigers time tired to together tokyo took toronto tossing total touching train travel travesty treat tries triumph
    triumphant truly tuning tv twig two typical unbearable uneven unforgettable unremarkable up used utterly violin visit
    vocalist vocalists wagon waiter waiters wake walk want warm washer washing waste watch watching way weight well western what
    when where which why will winner with woman women won wondrous work worry worrying worse worth worthless wreck wretched yard
    year york you young
"""
"""The words of the sample corpus; other words fall into characters."""


def write_tiny_encoder(parent: Path) -> Path:
    """Makes sure that the tiny encoder lies in a folder, in Hugging Face's layout; a file that differs is written anew.

    Weights are normal with standard deviation 0.02, biases 0, layer norms 1, as BERT starts.

    Args:
        parent: folder in which the encoder gets a folder of its own.

    Returns:
        The encoder's folder.
    """
    folder = parent / "tiny-1"
    for name, content in tiny_encoder_files().items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return folder


def tiny_encoder_files() -> dict[str, bytes]:
    """File name -> content of the tiny encoder."""
    from safetensors.numpy import save

    vocabulary = tiny_vocabulary()
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        **SIZES,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    settings |= dict(zip(names, SPECIAL_TOKENS, strict=True))
    return {
        "config.json": _json(config),
        "model.safetensors": save(_weights(len(vocabulary)), metadata={"format": "pt"}),
        "tokenizer.json": _json(_tokenizer(vocabulary)),
        "tokenizer_config.json": _json(settings),
        "vocab.txt": ("\n".join(vocabulary) + "\n").encode(),
    }


def tiny_vocabulary() -> list[str]:
    """Word pieces in the order of their numbers: special tokens, characters, characters inside words, words."""
    characters = [c for c in string.printable if not c.isspace() and not c.isupper()]
    inside = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    words = [word for word in WORDS.split() if word not in characters]
    return [*SPECIAL_TOKENS, *characters, *inside, *words]


def _weights(vocab_size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)
    hidden, inner = SIZES["hidden_size"], SIZES["intermediate_size"]
    out: dict[str, np.ndarray] = {}

    def matrix(name: str, *shape: int) -> None:
        out[f"{name}.weight"] = (0.02 * rng.standard_normal(shape)).astype(np.float32)

    def dense(name: str, width_out: int, width_in: int) -> None:
        matrix(name, width_out, width_in)
        out[f"{name}.bias"] = np.zeros(width_out, dtype=np.float32)

    def norm(name: str) -> None:
        out[f"{name}.weight"] = np.ones(hidden, dtype=np.float32)
        out[f"{name}.bias"] = np.zeros(hidden, dtype=np.float32)

    matrix("embeddings.word_embeddings", vocab_size, hidden)
    matrix("embeddings.position_embeddings", SIZES["max_position_embeddings"], hidden)
    matrix("embeddings.token_type_embeddings", SIZES["type_vocab_size"], hidden)
    norm("embeddings.LayerNorm")
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{prefix}.attention.self.{part}", hidden, hidden)
        dense(f"{prefix}.attention.output.dense", hidden, hidden)
        norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", inner, hidden)
        dense(f"{prefix}.output.dense", hidden, inner)
        norm(f"{prefix}.output.LayerNorm")
    dense("pooler.dense", hidden, hidden)
    return out


def _tokenizer(vocabulary: list[str]) -> dict[str, Any]:
    """A `tokenizer.json`: lower-casing WordPiece, framed as `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`."""
    number = {token: i for i, token in enumerate(vocabulary)}

    def special(token: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": segment}}

    def sequence(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    single = [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number[token], "content": token, **flags} for token in SPECIAL_TOKENS],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {token: {"id": token, "ids": [number[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": number,
        },
    }


def _json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=1) + "\n").encode()
