"""Make `14_induction.json` and `14_induction.npz`: models of attention alone, with one layer and with two, that see the
same random letters again.

python lessons/data/make_14_induction.py      about three minutes on a quiet core

Every sequence is a block of random tokens, over and over. In the runs "one layer" and "two layers" the length of the
block differs from sequence to sequence, from 12 to 24; in "one layer, fixed" it is always 24. The feed-forward part of
each block is zero and gets no gradient but at its last bias, so that attention is all there is.
"""

import json
import time
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.functions import log_softmax
from minattn.models import language_model
from minattn.op import bind
from minattn.weights import save

V, M, H, T = 32, 48, 4, 48
SHORTEST, LONGEST = 12, 24
BATCH, PEAK, WARM_UP, MAX_NORM, EVERY = 32, 3e-3, 100, 1.0, 100
RUNS = {"one layer": (1, None, 1000), "two layers": (2, None, 1000), "one layer, fixed": (1, LONGEST, 600)}
SEEDS = {"one layer": (0, 1, 2), "two layers": (0, 1, 2), "one layer, fixed": (0,)}
HERE = Path(__file__).parent
model = bind(language_model, positions="rotary", activation="relu")


def repeated(rng, B, period=None):
    """B sequences (B, T), each a block of random tokens over and over; period: its length, None for any."""
    rows = []
    for _ in range(B):
        length = period or rng.integers(SHORTEST, LONGEST + 1)
        rows.append(np.resize(rng.integers(V, size=length), T))
    return np.stack(rows)


def attention_only(params):
    """The feed-forward parts set to zero: they add nothing, and so their weights get no gradient."""
    for block in params["blocks"].values():
        block["feed"] = tree.map(np.zeros_like, block["feed"])
    return params


def train(L, period, updates, seed, test):
    """One model -> its parameters, and for every so many updates its loss at each place of the test sequences."""
    rng = np.random.default_rng(seed)
    params = attention_only(language_model.init(rng, V=V, M=M, H=H, L=L, F=1, tied=False))
    flat, marks, begin = optim.Flat(tree.astype(params, np.float32)), [], time.perf_counter()
    for update in range(updates + 1):
        if update % EVERY == 0:
            logits, _ = model.forward(flat.params, test[:, :-1])
            marks.append(-np.take_along_axis(log_softmax(logits), test[:, 1:, None], -1)[..., 0].mean(axis=0))
            first, second = marks[-1][: LONGEST - 1].mean(), marks[-1][LONGEST:].mean()
            seconds = time.perf_counter() - begin
            print(f"  update {update:5}   first time {first:.3f}   again {second:.3f}   {seconds:.0f} s", flush=True)
        if update < updates:
            tokens = repeated(rng, BATCH, period)
            _, grads = training.gradients(model, flat.params, (tokens[:, :-1],), tokens[:, 1:])
            pace = optim.schedule(update, updates, peak=PEAK, warm_up=WARM_UP)
            flat.step(grads, learning_rate=pace, max_norm=MAX_NORM)
    return tree.map(np.copy, flat.params), np.stack(marks)


def main():
    test = repeated(np.random.default_rng(99), 64, LONGEST)
    about = {"V": V, "M": M, "H": H, "T": T, "period": LONGEST, "shortest": SHORTEST, "batch": BATCH, "every": EVERY}
    losses, kept = {}, {}
    for name, (L, period, updates) in RUNS.items():
        for seed in SEEDS[name]:
            print(f"{name}, seed {seed}", flush=True)
            params, marks = train(L, period, updates, seed, test)
            losses.setdefault(name, []).append(np.round(marks.astype(float), 3).tolist())
            if seed == 0:
                kept[name] = tree.astype(params, np.float16)
    (HERE / "14_induction.json").write_text(json.dumps(about | {"losses": losses}) + "\n", encoding="utf-8")
    save(HERE / "14_induction.npz", kept, about)
    for path in (HERE / "14_induction.json", HERE / "14_induction.npz"):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
