"""The one training loop: the numbers of the pure optimisers, and params that stay what they were."""

import itertools

import numpy as np
import pytest

from minattn import optim, training, tree

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
