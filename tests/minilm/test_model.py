"""The trained model, hand-written, against the packages it comes from: tokens, states, attention, gradients."""

import functools
import hashlib
import importlib.util
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

from minattn import similar, tree
from minattn.data import wordpiece
from minattn.models import minilm
from minattn.weights import huggingface, load_arrays, pretrained

ROOT = Path(__file__).parent.parent.parent
SENTENCES = [
    "The animal didn't cross the street because it was too tired.",
    "Hello world!",
    "A man is eating food, isn't he? Naïve café, 北京.",
    "x",
    "To open a file, call open() with its path and a mode; it returns a file object, which is closed by close().",
]


@functools.cache
def folder():
    return Path(importlib.util.find_spec(pretrained.PACKAGE).submodule_search_locations[0]) / "model"


@functools.cache
def ours():
    return pretrained.minilm()


@functools.cache
def theirs(attention="eager"):
    import transformers

    return transformers.BertModel.from_pretrained(folder(), attn_implementation=attention).eval()


@functools.cache
def tokenizer():
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


def lines():
    """Of the Python manual, of this repository's prose and code: letters, marks, formulas, other alphabets."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("lessons/**/*.md"), *ROOT.glob("lessons/*.py"), *ROOT.glob("tests/**/*.py")]
    text = "\n".join([*topics.values(), *(path.read_text(encoding="utf-8") for path in paths)])
    return sorted({line.strip() for line in text.splitlines() if line.strip()})


def test_it_is_the_model_that_all_this_was_shown_with():
    digest = hashlib.sha256((folder() / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_tokens_are_those_of_the_package_on_thousands_of_real_lines():
    vocabulary, found = ours().vocabulary, lines()
    assert len(found) > 3000
    wrong = [
        line
        for line, right in zip(found, tokenizer().encode_batch(found), strict=True)
        if [wordpiece.START, *wordpiece.tokenize(line, vocabulary), wordpiece.END] != right.tokens
    ]
    assert not wrong


def test_tokens_of_every_character_there_is():
    """Each within a word and alone. The package's tables are from Unicode 8: what came later it takes for letters."""
    import unicodedata

    vocabulary = ours().vocabulary
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    wrong = []
    for start in range(0, len(characters), 2**16):
        texts = [f"a{c}b {c}" for c in characters[start : start + 2**16]]
        for text, right in zip(texts, tokenizer().encode_batch(texts), strict=True):
            if wordpiece.tokenize(text, vocabulary) != right.tokens[1:-1]:
                wrong.append(text[1])
    assert len(wrong) < 1000
    assert {unicodedata.category(c) for c in wrong} <= {"Mn", "Mc", "Po", "Ps", "Pe", "Pd", "Cf", "So"}
    assert all(ord(c) > 0x600 for c in wrong)


@pytest.mark.parametrize("padded", [False, True])
def test_states_and_attention(padded):
    """Within 5e-6 in float32, where real tokens stand."""
    torch = pytest.importorskip("torch")
    texts = SENTENCES if padded else SENTENCES[:1]
    tokens, lengths = wordpiece.encode(texts, ours().vocabulary)
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    with torch.no_grad():
        right = theirs()(torch.tensor(tokens), torch.tensor(mask), output_attentions=True)
    hidden, cache = minilm.forward(ours().params, tokens, lengths=lengths if padded else None)
    read = minilm.reader(ours().params)(tokens, lengths=lengths if padded else None)
    assert hidden.dtype == read.dtype == np.float32
    for b, length in enumerate(lengths):
        for found in (hidden, read):
            assert abs(found[b, :length] - right.last_hidden_state[b, :length].numpy()).max() < 5e-6
        for weights, attention in zip(cache.weights, right.attentions, strict=True):
            some = (b, slice(None), slice(length), slice(length))
            assert weights.shape[1] == 12 and abs(weights[some] - attention[some].numpy()).max() < 5e-6


def test_gradients_of_the_whole_encoder():
    """float64, every parameter, 1e-9; dropout off, padding in it."""
    torch = pytest.importorskip("torch")
    import transformers

    tokens, lengths = wordpiece.encode(SENTENCES, ours().vocabulary)
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    model = transformers.BertModel.from_pretrained(folder(), add_pooling_layer=False, dtype=torch.float64).eval()
    upstream = np.random.default_rng(0).normal(size=(*tokens.shape, 384)) * mask[..., None]
    out = model(torch.tensor(tokens), torch.tensor(mask)).last_hidden_state
    out.backward(torch.tensor(upstream))
    params = tree.astype(ours().params, np.float64)
    hidden, cache = minilm.forward(params, tokens, lengths=lengths)
    (_,), dparams = minilm.backward(upstream, cache)
    found = huggingface.bert.write(dparams)
    right = {name: p.grad.numpy() for name, p in model.named_parameters()}
    assert found.keys() == right.keys()
    scale = 1e-3 * max(abs(g).max() for g in right.values())
    for name, gradient in right.items():
        assert abs(found[name] - gradient).max() <= 1e-9 * max(abs(gradient).max(), scale), name


def test_there_and_back():
    torch = pytest.importorskip("torch")
    import transformers

    state = load_arrays(folder() / "model.safetensors")
    params = huggingface.bert.read(state, H=12)
    back = huggingface.bert.write(params)
    assert all((state[name] == array).all() for name, array in back.items())
    assert {name for name in state if name not in back} == {
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
    }
    config = transformers.AutoConfig.from_pretrained(folder())
    model = transformers.BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()}, strict=True)


def test_vectors_of_sentences():
    """As the mean over real tokens, of length 1; in batches of any size and order."""
    torch = pytest.importorskip("torch")
    tokens, lengths = wordpiece.encode(SENTENCES, ours().vocabulary)
    mask = torch.tensor(np.arange(tokens.shape[1]) < lengths[:, None])
    with torch.no_grad():
        states = theirs()(torch.tensor(tokens), mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        right = torch.nn.functional.normalize(mean).numpy()
    assert abs(similar.embed(ours(), SENTENCES) - right).max() < 1e-6
    many = SENTENCES * 30
    assert abs(similar.embed(ours(), many) - np.tile(right, (30, 1))).max() < 1e-6


def test_meaning_is_found():
    texts = [
        "How do I open a file?",
        "The cat sat on the mat.",
        "Reading a document from disk",
        "Prices rose in March.",
    ]
    scores = similar.embed(ours(), texts) @ similar.embed(ours(), ["load the contents of a file"])[0]
    assert scores.argmax() in (0, 2) and min(scores[0], scores[2]) > max(scores[1], scores[3]) + 0.2


def test_heads_that_do_what_they_are_told_to():
    """What lesson 20 shows: the previous token, the next one, and the resting place."""
    tokens, lengths = wordpiece.encode(lines()[:400], ours().vocabulary, 64)
    keep = lengths >= 8
    tokens, lengths = tokens[keep], lengths[keep]
    _, cache = minilm.forward(ours().params, tokens, lengths=lengths)
    weights = cache.weights  # made when asked for
    for layer, head, step in ((0, 2, -1), (1, 8, +1)):
        share = [weights[layer][b, head, t, t + step] for b, n in enumerate(lengths) for t in range(2, n - 2)]
        assert np.mean(share) > 0.5
    rest = [weights[4][b, 5, 1 : n - 1, 0].mean() for b, n in enumerate(lengths)]
    assert np.mean(rest) > 0.5
