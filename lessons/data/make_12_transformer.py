"""Make `12_transformer.npz`: the Transformer of lesson 12, trained to read aloud, in float16.

python lessons/data/make_12_transformer.py [--updates 4000]      about four minutes on a quiet core
"""

import argparse
import time
from pathlib import Path

import numpy as np

from minattn import optim, training, tree
from minattn.data import phrases
from minattn.models import transformer
from minattn.op import bind
from minattn.weights import save

SIZES = {"M": 48, "H": 4, "L": 2}
OPTIONS = {"norm_first": True, "activation": "gelu_tanh"}
SEED, BATCH, PEAK, WARM_UP, MAX_NORM = 0, 64, 4e-3, 100, 1.0


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=4000, help="training steps (default 4000)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("12_transformer.npz"))
    arguments = parser.parse_args(argv)

    model, rng = bind(transformer, **OPTIONS), np.random.default_rng(SEED)
    vocabularies = {"source_vocabulary": len(phrases.LETTERS), "target_vocabulary": len(phrases.PHONEMES)}
    params = tree.astype(transformer.init(rng, **vocabularies, **SIZES), np.float32)
    print(f"{sum(leaf.size for _, leaf in tree.leaves(params)):,} parameters, {arguments.updates} updates")

    flat, losses, begin = optim.Flat(params), [], time.perf_counter()
    batches = phrases.batches(phrases.load().train, rng, BATCH)
    for update, chosen in zip(range(arguments.updates), batches, strict=False):
        batch = phrases.batch(chosen)
        inputs, lengths = (batch.source, batch.target_in), {"source_lengths": batch.source_lengths}
        loss, grads = training.gradients(
            model, flat.params, inputs, batch.target_out, ignore_index=phrases.PAD, lengths=lengths
        )
        pace = optim.schedule(update, arguments.updates, peak=PEAK, warm_up=WARM_UP)
        flat.step(grads, learning_rate=pace, max_norm=MAX_NORM)
        losses.append(float(loss))
        if (update + 1) % 100 == 0:
            seconds = time.perf_counter() - begin
            print(f"update {update + 1:5}   loss {np.mean(losses[-100:]):.4f}   {seconds:.0f} s", flush=True)

    steps = 50
    about = {
        "updates": arguments.updates,
        "batch": BATCH,
        "seed": SEED,
        "sizes": SIZES,
        "every": steps,
        "losses": [round(float(np.mean(losses[i : i + steps])), 4) for i in range(0, len(losses), steps)],
    }
    save(arguments.out, tree.astype(flat.params, np.float16), about)
    print(f"{arguments.out.name}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
