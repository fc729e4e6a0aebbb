"""The one training loop: the numbers of the pure optimisers, and params that stay what they were."""

import itertools

import numpy as np
import pytest

from minattn import optim, threads, training, tree
from minattn.functions import Loss, cross_entropy, cross_entropy_backward
from minattn.models import language_model, recurrent_model, seq2seq

START = {"W": np.array([[3.0, -2.0], [0.5, 4.0]]), "inner": {"b": np.array([1.0, -1.0])}}


def gradients(params, batch):
    """Of the squared distance from the batch's number."""
    loss = sum(float(((x - batch) * (x - batch)).sum()) for _, x in tree.leaves(params))
    return loss, tree.map(lambda x: 2 * (x - batch), params)


def by_hand(updates, rate, max_norm):
    params, state, losses = START, None, []
    for i in range(updates):
        loss, dparams = gradients(params, i % 3)
        dparams, _ = optim.clip(dparams, max_norm)
        pace = optim.schedule(i, updates, peak=rate, warm_up=5)
        params, state = optim.adam(params, dparams, state, learning_rate=pace)
        losses.append(loss)
    return params, losses


def fit(gradients=gradients, updates=40, **settings):
    batches = (i % 3 for i in itertools.count())
    return training.fit(START, gradients, batches, updates=updates, learning_rate=0.3, warm_up=5, **settings)


@pytest.mark.parametrize("max_norm", [1.0, 1e6])
def test_fit_is_adam_on_clipped_gradients(max_norm):
    fitted = fit(max_norm=max_norm)
    params, losses = by_hand(40, 0.3, max_norm)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-10)
    tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10), fitted.params, params)
    assert [mark.updates for mark in fitted.marks] == list(range(4, 41, 4))


def test_what_is_handed_out_stays():
    before = tree.map(np.copy, START)
    fitted = fit(measure=lambda params: params)
    tree.map(np.testing.assert_array_equal, START, before)
    measured = [mark.measured for mark in fitted.marks]
    assert all((x["W"] != y["W"]).any() for x, y in itertools.pairwise(measured))
    tree.map(np.testing.assert_array_equal, measured[-1], fitted.params)
    assert all(leaf.base is None and leaf.flags.writeable for _, leaf in tree.leaves(fitted.params))


def test_ctrl_c_returns_what_was_learned(capsys):
    seen = itertools.count()

    def interrupted(params, batch):
        if next(seen) == 7:
            raise KeyboardInterrupt
        return gradients(params, batch)

    fitted = fit(interrupted)
    assert len(fitted.losses) == fitted.marks[-1].updates == 7
    assert "stopped after 7 of 40 updates" in capsys.readouterr().out
    assert all(np.isfinite(leaf).all() for _, leaf in tree.leaves(fitted.params))


def test_nan_ends_it_by_name():
    def broken(params, batch):
        loss, dparams = gradients(params, batch)
        return loss, dparams | {"inner": {"b": np.full(2, np.nan)}}

    with pytest.raises(FloatingPointError, match=r"the gradient inner\.b holds nan"):
        fit(broken)


RNG = np.random.default_rng(0)
TOKENS = RNG.integers(6, size=(5, 4))
TARGETS = np.where(RNG.random((5, 4)) < 0.3, 0, TOKENS)  # 0 is not counted
MODELS = {
    "language_model": (language_model, {"V": 6, "M": 4, "H": 2, "L": 1}, (TOKENS,), None),
    "recurrent_model": (recurrent_model, {"V": 6, "I": 3, "N": 4}, (TOKENS,), None),
    "seq2seq": (
        seq2seq, {"source_vocabulary": 6, "target_vocabulary": 6, "I": 3, "N": 4}, (TOKENS[:, ::-1], TOKENS),
        {"source_lengths": np.array([4, 2, 3, 1, 4])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 8])
@pytest.mark.parametrize("ignore_index", [None, 0])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_of_parts_of_a_batch_are_those_of_the_whole(name, ignore_index, number):
    op, sizes, inputs, lengths = MODELS[name]
    params = op.init(np.random.default_rng(1), **sizes)
    out, cache = op.forward(params, *inputs, **(lengths or {}))
    logits = out[0] if isinstance(out, tuple) else out
    loss, *needed = cross_entropy(logits, TARGETS, ignore_index=ignore_index)
    dlogits = cross_entropy_backward(Loss(mean=1.0), *needed)
    _, expected = op.backward((dlogits, None) if isinstance(out, tuple) else dlogits, cache)
    with threads.using(number):
        mean, dparams = training.gradients(
            op, params, inputs, TARGETS, ignore_index=ignore_index, lengths=lengths, side_by_side=True
        )
    assert mean == pytest.approx(float(loss.mean), rel=1e-12)
    for (path, one), (_, other) in zip(tree.leaves(dparams), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14, err_msg=path)


def test_where_nothing_is_counted_nothing_moves():
    op, sizes, inputs, _ = MODELS["language_model"]
    params = op.init(np.random.default_rng(1), **sizes)
    loss, dparams = training.gradients(op, params, inputs, 0 * TARGETS, ignore_index=0)
    assert loss == 0 and not any(leaf.any() for _, leaf in tree.leaves(dparams))
