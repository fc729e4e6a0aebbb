"""09_lengths.json: language models trained on 32 letters, asked at 128, with each kind of position; three seeds each.

python make_09_lengths.py        about two minutes
"""

import json
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.data import manual
from minattn.functions import log_softmax
from minattn.models import language_model
from minattn.op import bind

T, LONG, B, UPDATES, SEEDS = 32, 128, 16, 700, (0, 1, 2)
SIZES = {"V": len(manual.ALPHABET), "M": 48, "H": 4, "L": 2, "F": 96, "tied": False}
KINDS = {"none": None, "sinusoidal": "sinusoidal", "rotary": "rotary", "ALiBi": "alibi"}
TOGETHER = 4  # places whose losses are averaged


def trained(op, text, seed):
    rng = np.random.default_rng(seed)
    flat = optim.Flat(tree.astype(language_model.init(rng, **SIZES), np.float32))
    for update in range(UPDATES):
        starts = rng.integers(len(text.train) - T, size=(B, 1))
        rows = text.train[starts + np.arange(T + 1)]
        _, dparams = training.gradients(op, flat.params, (rows[:, :-1],), rows[:, 1:])
        flat.step(dparams, learning_rate=optim.schedule(update, UPDATES, peak=5e-3, warm_up=20), max_norm=1.0)
    return flat.params


def by_place(op, params, text):
    """The mean loss at each place of unseen text, TOGETHER places in one number."""
    count = len(text.valid) // (LONG + 1)
    rows = text.valid[: count * (LONG + 1)].reshape(count, LONG + 1)
    logits, _ = op.forward(params, rows[:, :-1])
    losses = -np.take_along_axis(log_softmax(logits), rows[:, 1:, None], axis=-1)[..., 0]
    return losses.mean(axis=0).reshape(-1, TOGETHER).mean(axis=1)


def main():
    text, losses = manual.load(), {}
    for name, kind in KINDS.items():
        op = bind(language_model, positions=kind, activation="gelu_tanh")
        losses[name] = []
        for seed in SEEDS:
            each = by_place(op, trained(op, text, seed), text)
            losses[name].append([round(float(loss), 3) for loss in each])
            print(f"{name}, seed {seed}: {each[:8].mean():.2f} within {T} letters, {each[8:].mean():.2f} beyond")
    about = {"python": text.version, "trained on": T, "together": TOGETHER, "updates": UPDATES, "losses": losses}
    path = Path(__file__).with_name("09_lengths.json")
    path.write_text(json.dumps(about) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    main()
