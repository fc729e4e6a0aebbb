"""The encoder of sentences: padding, segments and what the mean is of. Its gradients are checked with all others."""

import tracemalloc

import numpy as np
import pytest
from device import DeviceArray
from laws import LAWS, close

from minattn import tree
from minattn.gradcheck import gradcheck
from minattn.models import block, minilm
from minattn.op import Case, pair

RNG = np.random.default_rng(0)
PARAMS = minilm.init(RNG, V=9, M=8, H=2, L=2, T=6, F=5)
TOKENS = RNG.integers(9, size=(3, 5))


def test_padding_does_not_matter():
    hidden, _ = minilm.forward(PARAMS, TOKENS, lengths=np.array([5, 3, 1]))
    other = np.where(np.arange(5) < np.array([[5], [3], [1]]), TOKENS, (TOKENS + 1) % 9)
    again, _ = minilm.forward(PARAMS, other, lengths=np.array([5, 3, 1]))
    for b, length in enumerate((5, 3, 1)):
        alone, _ = minilm.forward(PARAMS, TOKENS[b : b + 1, :length])
        assert np.allclose(hidden[b, :length], alone[0], atol=1e-13)
        assert (hidden[b, :length] == again[b, :length]).all()


def test_a_reader_keeps_nothing():
    """The memory of one layer, however many there are."""

    def peak(L):
        params = minilm.init(np.random.default_rng(0), V=9, M=8, H=2, L=L, T=64, F=512)
        tokens, read = np.zeros((8, 64), dtype=int), minilm.reader(params)
        peaks = []
        for work in (read, lambda tokens: minilm.forward(params, tokens)):
            tracemalloc.start()
            try:
                work(tokens)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        return peaks

    (few, _), (many, kept) = peak(1), peak(8)
    assert many < 1.2 * few and kept > 2 * many


def test_a_reader_reads_what_forward_does():
    lengths, types = np.array([5, 3, 1]), RNG.integers(2, size=(3, 5))
    read = minilm.reader(PARAMS)
    for options in ({}, {"lengths": lengths}, {"types": types}, {"lengths": lengths, "types": types}):
        hidden, _ = minilm.forward(PARAMS, TOKENS, **options)
        real = np.arange(5) < options.get("lengths", np.array([5, 5, 5]))[:, None]
        assert abs(read(TOKENS, **options) - hidden)[real].max() <= 1e-12 * abs(hidden).max()
    there = minilm.reader(tree.map(DeviceArray, PARAMS))(DeviceArray(TOKENS), lengths=lengths).get()
    assert abs(there - read(TOKENS, lengths=lengths))[real].max() <= 1e-12 * abs(there).max()


def test_every_token_looks_at_every_other():
    _, cache = minilm.forward(PARAMS, TOKENS)
    assert len(cache.weights) == 2
    for weights in cache.weights:
        assert weights.shape == (3, 2, 5, 5) and (weights > 0).all() and np.allclose(weights.sum(axis=-1), 1)


def test_no_segments_are_segment_0():
    plain, _ = minilm.forward(PARAMS, TOKENS)
    zeros, _ = minilm.forward(PARAMS, TOKENS, types=np.zeros_like(TOKENS))
    ones, _ = minilm.forward(PARAMS, TOKENS, types=np.ones_like(TOKENS))
    assert (plain == zeros).all() and not np.allclose(plain, ones)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"types \(3, 1\) must be the segments of tokens \(3, 5\)"):
        minilm.forward(PARAMS, TOKENS, types=np.zeros((3, 1), dtype=int))
    with pytest.raises(ValueError, match="a learned position ends with the longest sequence trained"):
        minilm.forward(PARAMS, RNG.integers(9, size=(1, 7)))
    with pytest.raises(ValueError, match="V-1 = 8 but 9 came"):
        minilm.forward(PARAMS, np.full((1, 2), 9))
    with pytest.raises(ValueError, match="V-1 = 1 but 2 came"):
        minilm.forward(PARAMS, TOKENS, types=np.full_like(TOKENS, 2))
    with pytest.raises(ValueError, match="a learned position ends with the longest sequence trained"):
        minilm.reader(PARAMS)(RNG.integers(9, size=(1, 7)))


def test_a_sentence_is_the_mean_of_its_real_tokens():
    hidden, lengths = RNG.normal(size=(3, 5, 4)), np.array([5, 2, 1])
    vectors, *_ = minilm.sentence(hidden, lengths)
    for b, length in enumerate(lengths):
        mean = hidden[b, :length].mean(axis=0)
        assert np.allclose(vectors[b], mean / np.linalg.norm(mean), atol=1e-14)
    whole, *_ = minilm.sentence(hidden)
    assert np.allclose(whole[0], vectors[0], atol=1e-15)


def test_a_mean_of_nothing_is_nothing():
    vectors, *kept = minilm.sentence(np.zeros((2, 3, 4)), np.array([3, 1]))
    assert not vectors.any() and np.isfinite(minilm.sentence_backward(np.ones((2, 4)), vectors, *kept)).all()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("lengths", [None, np.array([4, 1, 2])])
def test_the_sentence_under_every_law(law, lengths):
    hidden = RNG.normal(size=(3, 4, 5))
    if lengths is not None:
        hidden[1, 1:], hidden[2, 2:] = np.nan, np.inf
    law(pair(minilm.sentence, minilm.sentence_backward), Case("", {}, (hidden,), {"lengths": lengths}))


def test_dropout_is_drawn_for_embeddings_and_layers():
    draw = lambda seed: minilm.forward(PARAMS, TOKENS, dropout=0.5, rng=np.random.default_rng(seed))[0]  # noqa: E731
    assert (draw(1) == draw(1)).all() and not np.allclose(draw(1), draw(2))
    _, cache = minilm.forward(PARAMS, TOKENS, dropout=0.5, rng=np.random.default_rng(1))
    assert set(np.unique(cache.kept)) == {0.0, 2.0}


def test_a_whole_step_from_a_sentence_to_its_tokens():
    """Two sentences drawn together: the gradient through mean, layers and embeddings, with one token twice."""
    tokens, lengths = np.array([[1, 4, 4, 2], [1, 7, 2, 0]]), np.array([4, 3])

    def forward(params):
        hidden, cache = minilm.forward(params, tokens, lengths=lengths)
        vectors, *kept = minilm.sentence(hidden, lengths)
        return (vectors[0] * vectors[1]).sum(), (cache, vectors, kept)

    def backward(dout, kept):
        cache, vectors, rest = kept
        dhidden = minilm.sentence_backward(dout * vectors[::-1], vectors, *rest)
        return minilm.backward(dhidden, cache)[1]

    params = tree.map(lambda p: p + 0.3 * RNG.normal(size=p.shape), PARAMS)
    gradcheck(forward, backward, (params,), max_elements=20).assert_ok()
    close(backward(1.0, forward(PARAMS)[1]), backward(1.0, forward(PARAMS)[1]), 0)


def test_every_norm_has_the_eps_that_is_asked_for():
    """Of numbers that are all alike the inverse deviation is 1 / sqrt(eps)."""
    zeros = tree.map(np.zeros_like, PARAMS)
    _, cache = minilm.forward(zeros, TOKENS)
    parts = [part for layer in cache.layers for part in (layer.look, layer.feed)]
    assert all(np.allclose(inverse, 1e6) for inverse in (cache.norm[1], *(part.inverse_std for part in parts)))
    sizes, x = {"M": 4, "H": 2, "cross": True}, np.zeros((2, 3, 4))
    for norm_first in (True, False):
        params = tree.map(np.zeros_like, block.init(RNG, **sizes))
        _, cache = block.forward(params, x, x, norm_first=norm_first, eps=0.25)
        assert all(np.allclose(part.inverse_std, 2) for part in (cache.look, cache.recall, cache.feed))
