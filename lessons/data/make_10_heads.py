"""Make `10_heads.npz`, the small language model whose heads lesson 10 silences, and `10_grouped.json`, one for each G.

python lessons/data/make_10_heads.py [--updates 1500 300]      about four minutes on a quiet core
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
from minattn.weights import save
from minattn.write import windows

SIZES = {"M": 64, "H": 8, "L": 2, "F": 192}
OPTIONS = {"positions": "rotary", "activation": "gelu_tanh"}
MODEL = bind(language_model, **OPTIONS)
BATCH, T, PEAK, WARM_UP, MAX_NORM = 32, 96, 4e-3, 40, 1.0
SHARED, SEEDS = (8, 4, 2, 1), (0, 1)
FOLDER = Path(__file__).parent


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--updates", type=int, nargs=2, default=(1500, 300), help="of the model, and of each of the shared ones"
    )
    arguments = parser.parse_args(argv)
    text = manual.load()
    rows = text.valid[: 64 * (T + 1)].reshape(64, T + 1)

    params, loss = train(text, rows, seed=0, updates=arguments.updates[0])
    about = {"sizes": SIZES, "options": OPTIONS, "updates": arguments.updates[0], "python": text.version, "loss": loss}
    arrays = {"model": tree.astype(params, np.float16), "valid": rows.astype(np.uint8)}
    save(FOLDER / "10_heads.npz", arrays, about)
    print(f"10_heads.npz: {(FOLDER / '10_heads.npz').stat().st_size:,} bytes")

    shared = {
        str(G): [round(train(text, rows, seed=seed, updates=arguments.updates[1], G=G)[1], 4) for seed in SEEDS]
        for G in SHARED
    }
    about = {"updates": arguments.updates[1], "seeds": SEEDS, "python": text.version, "sizes": SIZES, "loss": shared}
    (FOLDER / "10_grouped.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def train(text, rows, *, seed, updates, G=None):
    """-> params, validation loss."""
    rng = np.random.default_rng(seed)
    params = tree.astype(language_model.init(rng, V=len(manual.ALPHABET), G=G, **SIZES), np.float32)
    print(f"G={G or SIZES['H']}, seed {seed}: {sum(leaf.size for _, leaf in tree.leaves(params)):,} parameters")
    flat, losses, begin = optim.Flat(params), [], time.perf_counter()
    for update in range(updates):
        tokens = windows(text.train, rng, BATCH, T + 1)
        loss, dparams = training.gradients(MODEL, flat.params, (tokens[:, :-1],), tokens[:, 1:])
        pace = optim.schedule(update, updates, peak=PEAK, warm_up=WARM_UP)
        flat.step(dparams, learning_rate=pace, max_norm=MAX_NORM)
        losses.append(float(loss))
        if (update + 1) % 100 == 0:
            seconds = time.perf_counter() - begin
            print(f"update {update + 1:4}   loss {np.mean(losses[-50:]):.3f}   {seconds:.0f} s", flush=True)
    out, _ = MODEL.forward(flat.params, rows[:, :-1])
    loss = float(cross_entropy(out, rows[:, 1:])[0].mean)
    print(f"validation loss {loss:.4f}")
    return flat.params, loss


if __name__ == "__main__":
    main()
