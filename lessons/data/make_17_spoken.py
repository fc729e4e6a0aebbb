"""Make `17_poolings.npz` and `17_seeds.json`: three ways to make one vector of a sound, trained alike.

python lessons/data/make_17_spoken.py      just under five minutes on a quiet core

The same bidirectional LSTM three times, and after it: attention with one learned query; the mean of all moments; the
last state of each direction. Each is trained as `python -m minattn classify spoken` trains the first: 600 updates of 64
recordings, made anew each time. The file of parameters holds the three of seed 0 in float16.
"""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from minattn import classify, optim, training, tree
from minattn.attention import dot
from minattn.data import spoken
from minattn.models import speech
from minattn.op import bind
from minattn.weights import save

SEEDS = 0, 1, 2
TIMES = 5  # each clip of a test voice is put into so many recordings
N, UPDATES, PEAK, BATCH = 32, 600, 1e-2, 64
HERE = Path(__file__).parent


def fixed(weights):
    """A mechanism that looks nowhere: weights(value) (S, E) times value, whatever the query is."""

    def forward(params, query, key, value, bias=None, *, mask=None):
        context = (weights(value) * value).sum(axis=-2, keepdims=True)
        return context, (query, key, value)

    def backward(dcontext, cache):
        query, key, value = cache
        return (np.zeros_like(query), np.zeros_like(key), dcontext * weights(value), None), {}

    return SimpleNamespace(__name__="fixed", init=lambda rng: {}, forward=forward, backward=backward)


def mean(value):
    return np.full_like(value[0], 1 / value.shape[-2])


def last(value):
    """1 where the forward direction has heard all, and where the backward direction has; else 0."""
    weights = np.zeros_like(value[0])
    half = value.shape[-1] // 2
    weights[-1, :half], weights[0, half:] = 1, 1
    return weights


POOLINGS = {"attention": dot, "mean": fixed(mean), "last": fixed(last)}


def main():
    clips = spoken.load()
    train, test = spoken.split(clips)
    params, results = {}, {name: {"right": [], "on_the_word": [], "losses": []} for name in POOLINGS}
    for seed in SEEDS:
        task = classify.TASKS["spoken"](seed)  # for its standard scale alone
        rng = np.random.default_rng([seed, 1])
        listen = classify.recordings(clips, train, rng, 256).inputs
        centre, spread = listen.mean(axis=(0, 1)), listen.std(axis=(0, 1))
        kept = classify.recordings(clips, np.repeat(test, TIMES), np.random.default_rng(17))
        inputs = ((kept.inputs - centre) / spread).astype(np.float32)
        for name, attention in POOLINGS.items():
            op, begin = bind(speech, attention=attention), time.perf_counter()
            fitted, losses = fit(op, task, seed)
            logits, cache = op.forward(fitted, inputs)
            found = results[name]
            found["right"].append(float((logits.argmax(axis=-1) == kept.labels).mean()))
            found["losses"].append(losses)
            if attention is dot:
                found["on_the_word"].append(float((cache.weights * kept.where).sum(axis=-1).mean()))
            if seed == 0:
                params[name] = tree.astype(fitted, np.float16)
            seconds = time.perf_counter() - begin
            print(f"{name}, seed {seed}: {found['right'][-1]:.1%} right after {seconds:.0f} s", flush=True)
        if seed == 0:
            scale = {"centre": centre, "spread": spread}
    save(HERE / "17_poolings.npz", params | {"scale": scale}, {"seed": 0, "updates": UPDATES, "N": N})
    about = {"made by": "lessons/data/make_17_spoken.py", "seeds": SEEDS, "updates": UPDATES, "test": len(inputs)}
    text = json.dumps(about | {"poolings": results}, indent=1)
    (HERE / "17_seeds.json").write_text(text + "\n", encoding="utf-8")


def fit(op, task, seed):
    """As `classify.train`, saying less -> params, the mean loss of every 50 updates."""
    rng, losses = np.random.default_rng(seed), []
    flat = optim.Flat(tree.astype(op.init(rng, V=10, I=task.test.inputs.shape[-1], N=N), np.float32))
    for update, batch in zip(range(UPDATES), task.batches(rng), strict=False):
        loss, grads = training.gradients(op, flat.params, (batch.inputs,), batch.labels)
        flat.step(grads, learning_rate=optim.schedule(update, UPDATES, peak=PEAK, warm_up=40), max_norm=1.0)
        losses.append(float(loss))
    means = [round(float(np.mean(losses[i : i + 50])), 4) for i in range(0, UPDATES, 50)]
    return tree.map(np.copy, flat.params), means


if __name__ == "__main__":
    main()
