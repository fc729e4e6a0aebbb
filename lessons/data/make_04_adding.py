"""Make `04_adding.json` and `04_adding.npz`: RNN, LSTM and attention learn to add two of T numbers.

python lessons/data/make_04_adding.py [--updates 2000]      about four minutes on a quiet core

The adding problem, as in Hochreiter & Schmidhuber 1997, section 5.4, with numbers between 0 and 1 and sequences of one
length. Every batch is new, so each loss is measured on sequences that nobody has trained on. The settings are the same
for all of them and for every length, and none was tuned for one of them. Attention has the library's dot-product score,
and once more the additive one. The .npz holds one LSTM that has learned it.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from minattn import optim, tree
from minattn.attention import additive, dot
from minattn.functions import Loss, linear, linear_backward, mse, mse_backward
from minattn.models import pooling
from minattn.recurrent import lstm, rnn

LENGTHS, SEEDS = (50, 100, 200), (0, 1, 2)
CELLS = {"RNN": rnn, "LSTM": lstm}
ATTENTION = {"attention": dot, "additive attention": additive}
SETTINGS = {"N": 32, "batch": 32, "learning_rate": 0.01, "max_norm": 1.0}
EVERY = 50  # updates whose losses make one point of a curve
TESTED = 2000  # sequences
KEPT = 100, 0  # length and seed of the LSTM in the .npz


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=2000, help="training steps (default 2000)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("04_adding.json"))
    arguments = parser.parse_args(argv)

    curves, tests, asked = {}, {}, {}
    for T in LENGTHS:
        for name in (*CELLS, *ATTENTION):
            for seed in SEEDS:
                begin = time.process_time()
                params, losses = train(name, T, seed, arguments.updates)
                error = test(name, params, T)
                points = np.mean(np.reshape(losses[: len(losses) // EVERY * EVERY], (-1, EVERY)), axis=1)
                curves.setdefault(str(T), {}).setdefault(name, []).append([float(f"{p:.3g}") for p in points])
                tests.setdefault(str(T), {}).setdefault(name, []).append(float(f"{error:.3g}"))
                seconds = time.process_time() - begin
                print(f"T {T:3}   {name:18}   seed {seed}   error {error:.5f}   {seconds:4.0f} s", flush=True)
                if name == "attention":
                    leaves = (params["read"]["query"][0], params["W_out"][:, 0], params["b_out"])
                    names = "query", "W_out", "b_out"
                    numbers = {key: np.round(x.astype(float), 3).tolist() for key, x in zip(names, leaves, strict=True)}
                    asked.setdefault(str(T), []).append(numbers)
                if name == "LSTM" and (T, seed) == KEPT:
                    np.savez_compressed(arguments.out.with_suffix(".npz"), **dict(tree.leaves(params)))

    content = {"settings": SETTINGS | {"updates": arguments.updates, "every": EVERY, "tested": TESTED}}
    content |= {"kept": KEPT, "curves": curves, "tests": tests, "attention": asked}
    arguments.out.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print(f"{arguments.out.name}: {arguments.out.stat().st_size:,} bytes")


def problem(rng, B, T):
    """inputs (B, T, 2), a number and whether it is marked, one in each half; their sums (B, 1)."""
    numbers, marked, rows = rng.random((B, T)), np.zeros((B, T)), np.arange(B)
    marked[rows, rng.integers(T // 2, size=B)] = 1
    marked[rows, rng.integers(T // 2, T, size=B)] = 1
    sums = (numbers * marked).sum(axis=1, keepdims=True)
    return np.stack([numbers, marked], axis=-1).astype(np.float32), sums.astype(np.float32)


def initial(rng, name):
    N = SETTINGS["N"]
    if name in ATTENTION:
        width, read = 2, pooling.init(rng, M=2, A=N, attention=ATTENTION[name])
    else:
        width, read = N, CELLS[name].init(rng, I=2, N=N)
    params = {"read": read, "W_out": rng.normal(size=(width, 1)) / np.sqrt(width), "b_out": np.zeros(1)}
    return tree.astype(params, np.float32)


def predict(name, params, inputs):
    """-> the sums (B, 1), and what backward needs."""
    if name in ATTENTION:
        summary, cache = pooling.forward(params["read"], inputs, attention=ATTENTION[name])
    else:
        (_, last), cache = CELLS[name].forward(params["read"], inputs)
        summary = last.hidden
    return linear(summary, params["W_out"], params["b_out"]), (summary, cache)


def gradients(name, params, inputs, sums):
    guesses, (summary, cache) = predict(name, params, inputs)
    loss = mse(guesses, sums)
    dguesses, _ = mse_backward(Loss(1.0), guesses, sums)
    dsummary, dW_out, db_out = linear_backward(dguesses, summary, params["W_out"], params["b_out"])
    if name in ATTENTION:
        _, dread = pooling.backward(dsummary, cache)
    else:
        dlast = (dsummary,) if name == "RNN" else (dsummary, None)
        _, dread = CELLS[name].backward((None, dlast), cache)
    return float(loss.mean), {"read": dread, "W_out": dW_out, "b_out": db_out}


def train(name, T, seed, updates):
    rng = np.random.default_rng([T, seed])
    flat, losses = optim.Flat(initial(rng, name)), []
    for _ in range(updates):
        loss, dparams = gradients(name, flat.params, *problem(rng, SETTINGS["batch"], T))
        flat.step(dparams, learning_rate=SETTINGS["learning_rate"], max_norm=SETTINGS["max_norm"])
        losses.append(loss)
    return flat.params, losses


def test(name, params, T):
    inputs, sums = problem(np.random.default_rng(12345), TESTED, T)
    guesses, _ = predict(name, params, inputs)
    return float(np.mean((guesses - sums) ** 2))


if __name__ == "__main__":
    main()
