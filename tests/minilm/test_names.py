"""Hugging Face's own BERT and GPT-2, small and drawn at random: what is read computes the same, and goes back."""

import numpy as np
import pytest

from minattn import tree
from minattn.models import language_model, minilm
from minattn.weights import huggingface

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

B, T, V, L, F, PLACES = 3, 7, 23, 2, 13, 9
WIDTHS = pytest.mark.parametrize("M, H", [(12, 3), (15, 5), (10, 1)], ids=["3 heads", "5 heads", "1 head"])
LENGTHS = np.array([7, 4, 1])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def seeded(kind, config, **options):
    """In float64 and without dropout, no weight of which is 0 or 1."""
    torch.manual_seed(7)
    model = kind(config, **options).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return model


def bert(kind=transformers.BertModel, M=12, H=3, **options):
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=M, num_hidden_layers=L, num_attention_heads=H, intermediate_size=F,
        max_position_embeddings=PLACES, type_vocab_size=2, layer_norm_eps=1e-12, attn_implementation="eager",
    )  # fmt: skip
    return seeded(kind, config, **options)


def gpt2(kind=transformers.GPT2LMHeadModel, M=12, H=3, **settings):
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=M, n_layer=L, n_head=H, n_inner=F, n_positions=PLACES, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager", **settings,
    )  # fmt: skip
    return seeded(kind, config)


def arrays(model):
    return {name: x.numpy() for name, x in model.state_dict().items()}


def equal(left, right):
    left, right = dict(tree.leaves(left)), dict(tree.leaves(right))
    assert left.keys() == right.keys()
    for path, x in left.items():
        assert x.dtype == right[path].dtype, path
        np.testing.assert_array_equal(x, right[path], err_msg=path)


def there_and_back(theirs, params, model, H):
    """Into the module with strict=True, after which it is read again."""
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    model.load_state_dict({name: torch.from_numpy(x) for name, x in theirs.write(params).items()}, strict=True)
    read = theirs.read(model.state_dict(), H=H)
    equal(read[0] if isinstance(read, tuple) else read, params)


@WIDTHS
def test_bert(rng, M, H):
    """The hidden states and every gradient, with padding and segments."""
    model = bert(M=M, H=H, add_pooling_layer=False)
    params = huggingface.bert.read(model.state_dict(), H=H)
    tokens, types = rng.integers(V, size=(B, T)), rng.integers(2, size=(B, T))
    real = np.arange(T) < LENGTHS[:, None]
    hidden, cache = minilm.forward(params, tokens, lengths=LENGTHS, types=types)
    dhidden = np.where(real[..., None], rng.normal(size=hidden.shape), 0)
    _, dparams = minilm.backward(dhidden, cache)

    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    theirs = model(
        torch.from_numpy(tokens), attention_mask=torch.from_numpy(real), token_type_ids=torch.from_numpy(types)
    ).last_hidden_state
    theirs.backward(torch.from_numpy(dhidden))
    np.testing.assert_allclose(hidden[real], theirs.detach().numpy()[real], rtol=1e-10, atol=1e-10)
    written = huggingface.bert.write(dparams)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(written.pop(name), p.grad, rtol=1e-9, atol=1e-10, err_msg=name)
    assert not written


@WIDTHS
def test_bert_there_and_back(M, H):
    model = bert(M=M, H=H, add_pooling_layer=False)
    params = huggingface.bert.read(model.state_dict(), H=H)
    assert {name: x.shape for name, x in params["blocks"]["1"]["look"].items()} == {
        **{f"W_{part}": (M, H, M // H) for part in ("query", "key", "value")}, "W_out": (H, M // H, M),
        **{f"b_{part}": (H, M // H) for part in ("query", "key", "value")}, "b_out": (M,),
    }  # fmt: skip
    assert params["embed"].shape == (V, M) and params["positions"].shape == (PLACES, M)
    equal(huggingface.bert.write(params), arrays(model))
    there_and_back(huggingface.bert, params, model, H)


@pytest.mark.parametrize(
    "kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification"]
)
def test_bert_for_a_task(kind):
    """A pooler, a head, and "bert." before every name: the same parameters."""
    model = bert(getattr(transformers, kind))
    inner = getattr(model, "bert", model)
    params = huggingface.bert.read(model.state_dict(), H=3)
    state = {name: x for name, x in inner.state_dict().items() if not name.startswith("pooler.")}
    equal(huggingface.bert.write(params), {name: x.numpy() for name, x in state.items()})
    start = "bert." if inner is not model else ""
    older = model.state_dict() | {f"{start}embeddings.position_ids": torch.arange(PLACES)[None]}
    equal(huggingface.bert.read(older, H=3), params)


def test_copies(rng):
    """A step of training moves nothing on the other side."""
    for theirs, model in ((huggingface.bert, bert(add_pooling_layer=False)), (huggingface.gpt2, gpt2())):
        read = theirs.read(model.state_dict(), H=3)
        params = read[0] if isinstance(read, tuple) else read
        before = tree.map(np.copy, params)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1)
        equal(params, before)


@WIDTHS
def test_gpt2(rng, M, H):
    """The logits and every gradient; where the padding is at the end, no real step sees it."""
    model = gpt2(M=M, H=H, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).train()
    params, settings = huggingface.gpt2.read(model.state_dict(), H=H)
    tokens = rng.integers(V, size=(B, T))
    logits, cache = language_model.forward(params, tokens, **settings)
    dlogits = rng.normal(size=logits.shape)
    _, dparams = language_model.backward(dlogits, cache)

    theirs = model(torch.from_numpy(tokens)).logits
    theirs.backward(torch.from_numpy(dlogits))
    np.testing.assert_allclose(logits, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    written = huggingface.gpt2.write(dparams)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(written.pop(name), p.grad, rtol=1e-9, atol=1e-9, err_msg=name)
    assert written.keys() == {"lm_head.weight"}  # which is the embeddings, and counted there


@WIDTHS
def test_gpt2_there_and_back(M, H):
    model = gpt2(M=M, H=H)
    params, _ = huggingface.gpt2.read(model.state_dict(), H=H)
    equal(huggingface.gpt2.write(params), arrays(model))
    there_and_back(huggingface.gpt2, params, model, H)


def test_gpt2_without_its_head():
    model = gpt2()
    params, _ = huggingface.gpt2.read(model.state_dict(), H=3)
    equal(huggingface.gpt2.read(model.transformer.state_dict(), H=3)[0], params)


def test_gpt2_as_older_versions_kept_it():
    """With the mask of every layer among the parameters."""
    model = gpt2()
    masks = {f"transformer.h.{l}.attn.bias": torch.ones(1, 1, T, T, dtype=torch.bool).tril() for l in range(L)}
    masks |= {f"transformer.h.{l}.attn.masked_bias": torch.tensor(-1e4) for l in range(L)}
    params, _ = huggingface.gpt2.read(model.state_dict(), H=3)
    equal(huggingface.gpt2.read(model.state_dict() | masks, H=3)[0], params)


def test_gpt2_with_an_output_of_its_own():
    model = gpt2(tie_word_embeddings=False)
    with pytest.raises(
        ValueError, match="lm_head.weight has other numbers than wte.weight: in GPT-2 they are one matrix"
    ):
        huggingface.gpt2.read(model.state_dict(), H=3)


def test_gpt2_writes_what_ours_wrote(rng):
    """The likeliest continuation is one and the same."""
    model = gpt2()
    params, settings = huggingface.gpt2.read(model.state_dict(), H=3)
    tokens = rng.integers(V, size=(B, 3))
    given = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    given["attention_mask"] = torch.ones(B, 3, dtype=torch.long)
    theirs = model.generate(torch.from_numpy(tokens), **given)
    np.testing.assert_array_equal(language_model.generate(params, tokens, steps=5, **settings), theirs)


def test_the_other_model():
    with pytest.raises(ValueError, match="no state of BertModel: missing embeddings.word_embeddings.weight"):
        huggingface.bert.read(gpt2().state_dict(), H=3)
    with pytest.raises(ValueError, match="no state of GPT2LMHeadModel: missing wte.weight"):
        huggingface.gpt2.read(bert().state_dict(), H=3)
