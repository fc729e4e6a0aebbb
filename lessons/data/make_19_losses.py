"""Five trainings with one mistake each, or none, for lesson 19 -> 19_losses.json beside this file.

A small Vision Transformer reads written digits, 250 updates of 64 digits, three seeds; the mistakes are those of
`minattn.gradcheck.zoo`. About a minute on a quiet core. Run from anywhere: python lessons/data/make_19_losses.py
"""

import json
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.data import digits
from minattn.gradcheck import zoo
from minattn.models import vision

UPDATES, BATCH, SEEDS = 250, 64, 3
BUGS = (
    "layer norm backward pulls the gain outside the sums",
    "softmax backward divides by the batch size",
    "the scale is missing in backward",
    "only the diagonal of the softmax jacobian",
)


def pictures(some):
    return (some.images[..., None] - 0.3).astype(np.float32)  # (B, Y, X, I), ink and paper about equally far from 0


def learn(op, seed):
    """-> the loss of every update, and the share of the test digits that are read rightly."""
    rng = np.random.default_rng(seed)
    train, test = digits.split()
    images, labels = pictures(train), train.labels
    flat = optim.Flat(tree.astype(vision.init(rng, V=10, Y=8, X=8, M=16, L=1, H=2), np.float32))
    losses = []
    for step in range(UPDATES):
        some = rng.integers(len(labels), size=BATCH)
        loss, grads = training.gradients(op, flat.params, (images[some],), labels[some])
        flat.step(grads, learning_rate=optim.schedule(step, UPDATES, peak=1e-2, warm_up=20), max_norm=1.0)
        losses.append(round(float(loss), 4))
    logits, _ = op.forward(flat.params, pictures(test))
    return losses, float((logits.argmax(axis=-1) == test.labels).mean().round(4))


def main():
    ops = {"right": vision} | {name: zoo.build(zoo.named(name), "vision") for name in BUGS}
    found = {}
    for name, op in ops.items():
        losses, right = zip(*(learn(op, seed) for seed in range(SEEDS)), strict=True)
        found[name] = {"losses": losses, "right": right}
        print(f"{name}: {', '.join(f'{share:.1%}' for share in right)} of the test digits right")
    path = Path(__file__).with_name("19_losses.json")
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
