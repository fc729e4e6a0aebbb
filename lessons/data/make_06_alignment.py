"""Make `06_alignment.json`: one reader with additive attention in training, and where it looked on the way.

python lessons/data/make_06_alignment.py [--updates 1700]      about three minutes on a quiet core

It is the demo's reader, with the demo's settings. At each stop it reads a few phrases that it never trained on, the right
phonemes given (teacher forcing), so that every map has the same rows; how sharp it looks, and how well it reads by itself
(greedily), is measured on the first test phrases.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from minattn import reader
from minattn.data import phrases

MAPS = (0, 100, 200, 400, 800, 1700)  # updates after which the maps are kept
EVERY = 50  # updates from one measurement to the next
TESTED = 200  # test phrases
SHOWN = ("looking up the name", "that steps through code", "the following ways")  # their maps are kept


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=MAPS[-1], help=f"training steps (default {MAPS[-1]})")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("06_alignment.json"))
    arguments = parser.parse_args(argv)

    settings = reader.Settings(updates=arguments.updates)
    name, data = settings.attention, phrases.load()
    tested = data.test[:TESTED]
    shown = [next(phrase for phrase in data.test if phrase.text == text) for text in SHOWN]
    run = reader.Run(reader.initial(settings, name), None, ())
    batches = reader.batches(settings, data.train)
    maps, course = [[] for _ in shown], []
    for done in range(arguments.updates + 1):
        if done % EVERY == 0 or done in MAPS:
            letters = looked_at(name, run.params, tested)
            wrong = share_wrong(name, run.params, tested)
            recent = run.losses[-EVERY:]
            loss = float(np.mean(recent)) if recent else None
            course.append({"updates": done, "loss": loss, "letters": letters, "wrong": wrong})
            print(
                f"update {done:5}   loss {loss or float('nan'):.3f}   looks at {letters:.1f} letters   "
                f"{wrong:.1%} wrong",
                flush=True,
            )
        if done in MAPS:
            for kept, phrase in zip(maps, shown, strict=True):
                kept.append(np.round(forced(name, run.params, [phrase])[0], 4).tolist())
        if done < arguments.updates:
            run = reader.update(name, run, next(batches), settings)

    content = {
        "settings": settings._asdict(),
        "stops": [done for done in MAPS if done <= arguments.updates],
        "phrases": [
            {"text": phrase.text, "phonemes": phrase.phonemes, "weights": kept}
            for phrase, kept in zip(shown, maps, strict=True)
        ],
        "tested": len(tested),
        "course": course,
    }
    arguments.out.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print(f"{arguments.out.name}: {arguments.out.stat().st_size:,} bytes")


def forced(name, params, some):
    """The weights (B, T, S) when the right phonemes are given."""
    batch = phrases.batch(some)
    _, cache = reader.op(name).forward(params, batch.source, batch.target_in, source_lengths=batch.source_lengths)
    return cache.weights


def looked_at(name, params, some):
    """At how many letters the reader looks: e to the entropy of a row, averaged over all rows."""
    weights = forced(name, params, some)
    real = phrases.batch(some).target_out != phrases.PAD
    entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1)
    return float(np.exp(entropy)[real].mean())


def share_wrong(name, params, some):
    """Wrong phonemes over right ones, reading greedily."""
    readings = reader.read(name, params, [phrase.text for phrase in some])
    wrong = sum(phrases.distance(r.phonemes, p.phonemes) for r, p in zip(readings, some, strict=True))
    return wrong / sum(len(phrase.phonemes) for phrase in some)


if __name__ == "__main__":
    main()
