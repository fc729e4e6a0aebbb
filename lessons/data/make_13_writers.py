"""Make `13_writers.json` and `13_writers.npz`: a Transformer and an LSTM of equal size learn to write the manual.

python lessons/data/make_13_writers.py      about four minutes on a quiet core

Three seeds of each; the weights are those of the Transformer of seed 0, in float16. Each learning rate is the best of
three that were tried for 300 updates: RATES, half of it, and twice as much.
"""

import json
import time
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.data import manual
from minattn.functions import cross_entropy
from minattn.models import language_model, recurrent_model
from minattn.op import bind
from minattn.weights import save

T, BATCH, UPDATES, EVERY, SEEDS = 64, 32, 600, 50, (0, 1, 2)
SIZES = {"Transformer": {"M": 64, "H": 4, "L": 2}, "LSTM": {"I": 48, "N": 128}}
RATES = {"Transformer": 8e-3, "LSTM": 1e-2}
MODELS = {"Transformer": bind(language_model, positions="rotary", activation="gelu_tanh"), "LSTM": recurrent_model}
HERE = Path(__file__).parent


def validate(model, params, text):
    """The mean loss, in nats a character, over the first 64 windows of the validation text."""
    rows = text.valid[: 64 * (T + 1)].reshape(64, -1)
    out, _ = model.forward(params, rows[:, :-1])
    return float(cross_entropy(out[0] if isinstance(out, tuple) else out, rows[:, 1:])[0].mean)


def train(name, seed, text):
    """One model from its start -> parameters, and the validation loss after every so many updates."""
    model, rng = MODELS[name], np.random.default_rng(seed)
    params = tree.astype(model.init(rng, V=len(manual.ALPHABET), **SIZES[name]), np.float32)
    flat, losses, begin = optim.Flat(params), [], time.perf_counter()
    for update in range(UPDATES + 1):
        if update % EVERY == 0:
            losses.append(round(validate(model, flat.params, text), 4))
            print(f"  update {update:4}   {losses[-1]:.3f}   {time.perf_counter() - begin:.0f} s", flush=True)
        if update < UPDATES:
            starts = rng.integers(len(text.train) - T - 1, size=BATCH)
            rows = text.train[starts[:, None] + np.arange(T + 1)]
            _, grads = training.gradients(model, flat.params, (rows[:, :-1],), rows[:, 1:])
            pace = optim.schedule(update, UPDATES, peak=RATES[name], warm_up=40)
            flat.step(grads, learning_rate=pace, max_norm=1.0)
    return flat.params, losses


def main():
    text = manual.load()
    about = {"python": text.version, "T": T, "batch": BATCH, "updates": list(range(0, UPDATES + 1, EVERY))}
    about |= {"sizes": SIZES, "rates": RATES, "parameters": {}, "losses": {name: [] for name in MODELS}}
    for seed in SEEDS:
        for name in MODELS:
            print(f"{name}, seed {seed}", flush=True)
            params, losses = train(name, seed, text)
            about["losses"][name].append(losses)
            about["parameters"][name] = sum(leaf.size for _, leaf in tree.leaves(params))
            if seed == 0 and name == "Transformer":
                save(HERE / "13_writers.npz", tree.astype(params, np.float16), {"updates": UPDATES})
        (HERE / "13_writers.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    for path in (HERE / "13_writers.json", HERE / "13_writers.npz"):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
