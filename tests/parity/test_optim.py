"""Optimisers against torch.optim, and clip against clip_grad_norm_: after each of six steps the same parameters."""

import numpy as np
import pytest
from torch_twins import same, torch

from minattn import optim, tree

STEPS, LEARNING_RATE = 6, 0.05
SHAPES = {"W": (3, 4), "encoder": {"b": (5,), "v": (2, 1, 6)}}
DTYPES = pytest.mark.parametrize("dtype, relative", [(np.float64, 1e-12), (np.float32, 2e-4)], ids=["64", "32"])

OPTIMISERS = {
    "sgd": (optim.sgd, {}, torch.optim.SGD, {}),
    "sgd, momentum": (optim.sgd, {"momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "adam": (optim.adam, {}, torch.optim.Adam, {}),
    "adam, betas and eps": (
        optim.adam,
        {"betas": (0.8, 0.95), "eps": 1e-3},
        torch.optim.Adam,
        {"betas": (0.8, 0.95), "eps": 1e-3},
    ),
    "adamw": (optim.adamw, {}, torch.optim.AdamW, {}),
    "adamw, decay": (optim.adamw, {"weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
}


def draw(rng, dtype, shapes=SHAPES):
    """Normal numbers, and one of them exactly 0."""
    if isinstance(shapes, dict):
        return {name: draw(rng, dtype, shape) for name, shape in shapes.items()}
    x = rng.normal(size=shapes).astype(dtype)
    x.flat[0] = 0
    return x


def set_gradients(parameters, grads):
    for (_, parameter), (_, grad) in zip(tree.leaves(parameters), tree.leaves(grads), strict=True):
        parameter.grad = torch.from_numpy(grad.copy())


@DTYPES
@pytest.mark.parametrize("case", OPTIMISERS.values(), ids=OPTIMISERS)
def test_steps(rng, case, dtype, relative):
    step, settings, Theirs, their_settings = case
    params, state = draw(rng, dtype), None
    theirs = tree.map(lambda p: torch.nn.Parameter(torch.tensor(p)), params)
    optimiser = Theirs([p for _, p in tree.leaves(theirs)], lr=LEARNING_RATE, **their_settings)
    for _ in range(STEPS):
        grads = draw(rng, dtype)
        params, state = step(params, grads, state, learning_rate=LEARNING_RATE, **settings)
        set_gradients(theirs, grads)
        optimiser.step()
        same(params, theirs, dtype=dtype, relative=relative)


@DTYPES
@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0])
def test_clip(rng, max_norm, dtype, relative):
    """PyTorch divides by norm + 1e-6, we by the norm: the quotient of the two is taken out before comparing."""
    for _ in range(STEPS):
        grads = draw(rng, dtype)
        theirs = tree.map(torch.tensor, grads)
        set_gradients(theirs, grads)
        their_norm = torch.nn.utils.clip_grad_norm_([p for _, p in tree.leaves(theirs)], max_norm).item()
        clipped, norm = optim.clip(grads, max_norm)
        np.testing.assert_allclose(norm, their_norm, rtol=relative)
        excess = (norm + 1e-6) / norm if norm > max_norm else 1.0
        same(clipped, tree.map(lambda p, excess=excess: p.grad * excess, theirs), dtype=dtype, relative=relative)
