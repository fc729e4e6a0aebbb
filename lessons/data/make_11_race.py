"""Make `11_race.json`: stacks of 6 and of 12 layers, their norms first or last, trained with and without a warm-up.

python lessons/data/make_11_race.py [--updates 300]      about four minutes on a quiet core
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.data import manual
from minattn.functions import cross_entropy
from minattn.models import language_model
from minattn.op import bind
from minattn.write import windows

SIZES = {"M": 32, "H": 4, "F": 64}
BATCH, T, WARM_UP, EVERY = 16, 48, 100, 10
LAYERS, RATES, SEED = (6, 12), (1e-3, 3e-3), 0


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=300, help="training steps of each model (default 300)")
    arguments = parser.parse_args(argv)
    text = manual.load()
    runs = [
        train(text, L, norm_first, warm_up, rate, arguments.updates)
        for L in LAYERS
        for norm_first, warm_up in ((True, 1), (False, 1), (False, WARM_UP))
        for rate in RATES
    ]
    about = {"sizes": SIZES, "batch": BATCH, "T": T, "updates": arguments.updates, "every": EVERY, "seed": SEED}
    about |= {"python": text.version, "runs": runs}
    Path(__file__).with_name("11_race.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def train(text, L, norm_first, warm_up, rate, updates):
    """Adam at one rate, reached after warm_up updates, and no clipping -> a dict with the losses."""
    model = bind(language_model, positions="rotary", activation="gelu_tanh", norm_first=norm_first)
    rng, begin = np.random.default_rng(SEED), time.perf_counter()
    params = tree.astype(language_model.init(rng, V=len(manual.ALPHABET), L=L, tied=False, **SIZES), np.float32)
    flat, losses = optim.Flat(params), []
    for update in range(updates):
        tokens = windows(text.train, rng, BATCH, T + 1)
        loss, dparams = training.gradients(model, flat.params, (tokens[:, :-1],), tokens[:, 1:])
        flat.step(dparams, learning_rate=rate * min(1, (update + 1) / warm_up))
        losses.append(float(loss))
    rows = text.valid[: 64 * (T + 1)].reshape(64, T + 1)
    out, _ = model.forward(flat.params, rows[:, :-1])
    valid = float(cross_entropy(out, rows[:, 1:])[0].mean)
    where, how = "first" if norm_first else "last", "no warm-up" if warm_up == 1 else f"warm-up {warm_up}"
    seconds = time.perf_counter() - begin
    print(f"{L} layers, norm {where}, {how}, rate {rate:g}: loss {valid:.3f}   {seconds:.0f} s", flush=True)
    means = np.array(losses[: len(losses) // EVERY * EVERY]).reshape(-1, EVERY).mean(axis=1)
    return {
        "layers": L,
        "norm": where,
        "warm_up": 0 if warm_up == 1 else warm_up,
        "rate": rate,
        "losses": [round(float(mean), 4) for mean in means],
        "valid": round(valid, 4),
    }


if __name__ == "__main__":
    main()
