"""Learning to write: a Transformer and an LSTM of equal size learn the Python manual, character by character.

python -m minattn write            a few minutes: validation loss of both by time, and a sample of each
python -m minattn write --quick    a few seconds, to see that it runs

Ctrl-C ends the training of one model early and goes on with what it has learned.
"""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minattn import training, tree
from minattn.data import manual
from minattn.functions import cross_entropy
from minattn.models import language_model, recurrent_model
from minattn.op import bind
from minattn.weights import replace

CHOICES = {"positions": "rotary", "activation": "gelu_tanh"}  # the exact gelu costs ten times as much


class Settings(NamedTuple):
    """Widths are chosen so that both have about the same number of parameters."""

    updates: int = 500
    seed: int = 0
    batch: int = 32
    T: int = 96
    M: int = 96
    H: int = 4
    L: int = 3
    I: int = 64
    N: int = 256


QUICK = Settings(updates=10, batch=8, T=24, M=24, L=1, I=12, N=24)
RATES = {"Transformer": 3e-3, "LSTM": 1e-2}  # each the better of two tried: 2e-3 and 3e-3, 3e-3 and 1e-2
MODELS = {"Transformer": bind(language_model, **CHOICES), "LSTM": recurrent_model}


def add_arguments(parser):
    parser.add_argument("--updates", type=int, help=f"training steps for each model (default {Settings().updates})")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same figures (default 0)")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where the figure and the results go")
    parser.add_argument("--prompt", default="The ", help="how the samples begin")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that everything runs")


def main(arguments):
    """Train both, measure, sample, draw -> exit status."""
    import matplotlib  # noqa: F401  needed at the end, so asked for at the start

    settings = (QUICK if arguments.quick else Settings())._replace(seed=arguments.seed)
    settings = settings._replace(updates=arguments.updates or settings.updates)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = manual.load()
    print(f"Learning to write {len(text.train):,} characters of the manual of Python {text.version}.")
    results = {}
    for name, model in MODELS.items():
        results[name] = train(name, model, settings, text, arguments.prompt)
        done = results[name]
        print(
            f"\n{name}: {done['parameters']:,} parameters, {done['seconds']:.0f} s, validation loss "
            f"{done['valid'][-1]:.3f} nats ({done['valid'][-1] / np.log(2):.3f} bits) a character\n{done['sample']}"
        )
    draw(arguments.out / "language_model.png", results, settings)
    about = {"settings": settings._asdict(), "python": text.version, "models": results}
    path = arguments.out / "language_model.json"
    replace(path, lambda partial: partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8"))
    print(f"\nFigure and results: {arguments.out}/language_model.png, {path}")
    return 0


def train(name, model, settings, text, prompt="The "):
    """One model from its start -> parameters, updates and seconds at each measure, losses, and a sample."""
    rng = np.random.default_rng(settings.seed)
    sizes = (
        {"M": settings.M, "H": settings.H, "L": settings.L}
        if name == "Transformer"
        else {"I": settings.I, "N": settings.N}
    )
    params = tree.astype(model.init(rng, V=len(manual.ALPHABET), **sizes), np.float32)

    def gradients(params, tokens):
        inputs, targets = (tokens[:, :-1],), tokens[:, 1:]
        return training.gradients(model, params, inputs, targets, side_by_side=name == "Transformer")

    fitted = training.fit(
        params,
        gradients,
        (windows(text.train, rng, settings.batch, settings.T + 1) for _ in itertools.count()),
        updates=settings.updates,
        learning_rate=RATES[name],
        measure=lambda params: validate(model, params, settings, text),
        title=name,
    )
    beginning = manual.encode(prompt)[None]
    length = max(1, settings.T - beginning.shape[1])  # one window: beyond it neither has read anything
    rng = np.random.default_rng(1)
    sample = model.generate(fitted.params, beginning, steps=length, rng=rng, temperature=0.7)
    return {
        "parameters": sum(leaf.size for _, leaf in tree.leaves(params)),
        "updates": [mark.updates for mark in fitted.marks],
        "seconds": fitted.seconds,
        "seconds_at": [mark.seconds for mark in fitted.marks],
        "train": [mark.loss for mark in fitted.marks],
        "valid": [mark.measured for mark in fitted.marks],
        "sample": manual.decode(sample[0]),
    }


def validate(model, params, settings, text):
    """The mean loss over the first windows of the validation text, the same for every model and every time."""
    count = min(64, len(text.valid) // (settings.T + 1))
    rows = text.valid[: count * (settings.T + 1)].reshape(count, -1)
    out, _ = model.forward(params, rows[:, :-1])
    loss, *_ = cross_entropy(out[0] if isinstance(out, tuple) else out, rows[:, 1:])
    return float(loss.mean)


def windows(text, rng, B, T):
    """B pieces of T characters from random places, (B, T)."""
    starts = rng.integers(len(text) - T, size=B)
    return text[starts[:, None] + np.arange(T)]


def draw(path, results, settings):
    """Validation loss against updates."""
    from matplotlib import pyplot

    from minattn import plots

    figure, ax = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    updates = sorted({update for done in results.values() for update in done["updates"]})
    curves = {}
    for name, done in results.items():
        measured = dict(zip(done["updates"], done["valid"], strict=True))
        label = f"{name} ({done['parameters']:,} parameters)"
        curves[label] = [measured.get(update, np.nan) for update in updates]
    plots.curves(
        curves,
        updates,
        ax=ax,
        title=f"Writing the Python manual, {settings.batch} x {settings.T} characters an update",
        xlabel="updates",
        ylabel="validation loss (nats a character)",
    )
    replace(path, lambda partial: figure.savefig(partial, dpi=150, metadata={"Software": None}))
    pyplot.close(figure)
