"""Learning to recognise: written digits by looking at places, spoken ones by listening to moments.

python -m minattn classify digits    a Vision Transformer, and a query over convolutions, on 8 x 8 images
python -m minattn classify spoken    a query over a bidirectional LSTM, on words said somewhere in noise
        ... --quick                  a few seconds, to see that it runs

Nobody tells the models where to look. Ctrl-C ends the training of one early and goes on with what it has learned.
"""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minattn import training, tree
from minattn.data import digits, spoken
from minattn.models import speech, vision
from minattn.op import bind
from minattn.weights import replace

BATCH = 64


class Recogniser(NamedTuple):
    """A model, the sizes it is made with, and how it is trained."""

    op: Any
    sizes: dict
    updates: int
    learning_rate: float


class Examples(NamedTuple):
    """inputs (B, ...) for a model, labels (B,); where: of spoken digits, the frames (B, T) that hold the word."""

    inputs: np.ndarray
    labels: np.ndarray
    where: Any = None


class Task(NamedTuple):
    """batches(rng): endless Examples to learn from; test: Examples kept out; draw(path, test, learned)."""

    about: str
    models: dict
    batches: Any
    test: Examples
    draw: Any


def add_arguments(parser):
    parser.add_argument("task", choices=list(TASKS), help="what to recognise")
    parser.add_argument("--updates", type=int, help="training steps for each model (default: each its own)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same figures (default 0)")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where the figure and the results go")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that everything runs, learns little")


def main(arguments):
    """Train every model of the task, measure, draw -> exit status."""
    import matplotlib  # noqa: F401  needed at the end, so asked for at the start

    updates = 5 if arguments.quick and arguments.updates is None else arguments.updates
    if updates is not None and updates < 1:
        raise ValueError(f"--updates must be at least 1 but is {updates}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    task = TASKS[arguments.task](arguments.seed)
    print(task.about)
    results, learned = {}, {}
    for name, model in task.models.items():
        fitted = train(name, model, task, arguments.seed, updates or model.updates)
        answers, weights = answer(model.op, fitted.params, task.test.inputs)
        right = answers == task.test.labels
        learned[name] = answers, weights
        results[name] = {
            "parameters": sum(leaf.size for _, leaf in tree.leaves(fitted.params)),
            "updates": len(fitted.losses),
            "seconds": fitted.seconds,
            "accuracy": float(right.mean()),
            "examples": len(right),
        } | on_the_word(weights, task.test.where)
        print(report(name, results[name]))
    files = f"{arguments.task}.png", f"{arguments.task}.json"
    task.draw(arguments.out / files[0], task.test, learned)
    text = json.dumps({"seed": arguments.seed, "models": results}, indent=1) + "\n"
    replace(arguments.out / files[1], lambda partial: partial.write_text(text, encoding="utf-8"))
    print(f"Figure and results: {', '.join(str(arguments.out / file) for file in files)}")
    return 0


def train(name, model, task, seed, updates):
    """-> Fitted: the model after `updates` steps of Adam, float32."""
    rng = np.random.default_rng(seed)
    params = tree.astype(model.op.init(rng, V=10, **model.sizes), np.float32)

    def gradients(params, batch):
        return training.gradients(model.op, params, (batch.inputs,), batch.labels)

    return training.fit(
        params, gradients, task.batches(rng), updates=updates, learning_rate=model.learning_rate, title=name
    )


def answer(op, params, inputs):
    """-> the likeliest class of each input (B,), and where the query looked."""
    parts = [op.forward(params, inputs[i : i + 256]) for i in range(0, len(inputs), 256)]
    logits, weights = zip(*((logits, cache.weights) for logits, cache in parts), strict=True)
    return np.concatenate(logits).argmax(axis=-1), np.concatenate(weights)


def on_the_word(weights, where):
    """How much of the attention lies on frames with the word, and how many of the frames those are."""
    if where is None:
        return {}
    return {"attention_on_the_word": float((weights * where).sum(axis=-1).mean()), "word": float(where.mean())}


def report(name, result):
    """One model in two lines."""
    lines = f"{name}: {result['accuracy']:.1%} of {result['examples']} right, "
    lines += f"{result['parameters']:,} parameters, {result['updates']} updates in {result['seconds']:.0f} s"
    if "word" in result:
        lines += f"\n  {result['attention_on_the_word']:.0%} of the attention lies on the word, "
        lines += f"which is {result['word']:.0%} of the recording"
    return lines


def written(seed):
    """Digits of 8 x 8, those of other hands kept out as far as the file allows."""
    train, test = (Examples(part.images[..., None].astype(np.float32), part.labels) for part in digits.split())

    def batches(rng):
        for _ in itertools.count():
            chosen = rng.choice(len(train.labels), size=BATCH)
            yield Examples(shifted(train.inputs[chosen], rng), train.labels[chosen])

    size = {"Y": 8, "X": 8}
    convolutions = bind(vision, kernels=(3, 3), strides=(1, 1), L=0)
    models = {
        "Vision Transformer": Recogniser(vision, size | {"M": 32, "H": 4, "L": 2}, 900, 1e-2),
        "convolutions and a query": Recogniser(convolutions, size | {"M": 24}, 900, 1e-2),
    }
    about = f"Learning to read {len(train.labels):,} digits written by hand; {len(test.labels)} are kept out."
    return Task(about, models, batches, test, draw_digits)


def shifted(images, rng):
    """Each image moved by at most one pixel down and across, so that few digits teach more: (B, Y, X, I)."""
    Y, X = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, across = rng.integers(3, size=(2, len(images), 1, 1))
    rows, columns = down + np.arange(Y)[:, None], across + np.arange(X)
    return padded[np.arange(len(images))[:, None, None], rows, columns]


def heard(seed):
    """Digits said by a speech synthesiser, each somewhere in a second and a half of noise, drawn anew each time."""
    clips = spoken.load()
    train, test = spoken.split(clips)
    rng = np.random.default_rng([seed, 1])
    listen = recordings(clips, train, rng, 256).inputs  # (256, T, I)
    centre, spread = listen.mean(axis=(0, 1)), listen.std(axis=(0, 1))

    def ready(examples):
        return examples._replace(inputs=((examples.inputs - centre) / spread).astype(np.float32))

    def batches(rng):
        for _ in itertools.count():
            yield ready(recordings(clips, train, rng, BATCH))

    kept = ready(recordings(clips, np.repeat(test, 2), rng))
    models = {"LSTM and a query": Recogniser(speech, {"I": listen.shape[-1], "N": 32}, 600, 1e-2)}
    about = f"Learning to hear {len(train)} clips of a synthesiser in noise; {len(test)} of other voices are kept out."
    return Task(about, models, batches, kept, draw_spoken)


def recordings(clips, indices, rng, count=None):
    """`count` of the clips drawn at random, or all of them once -> Examples."""
    chosen = indices if count is None else rng.choice(indices, size=count)
    placed = spoken.place(clips, chosen, rng)
    features = spoken.log_mel(placed.sounds)  # (B, T, I)
    where = spoken.word_frames(placed.starts, placed.stops, features.shape[1])
    return Examples(features, clips.digit[chosen], where)


TASKS = {"digits": written, "spoken": heard}


def draw_digits(path, test, learned, count=8):
    """Some digits, and what each model looked at."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(learned) + 1, count, figsize=(1.2 * count, 4.4), layout="constrained")
    frame, middle = (0, 8, 8, 0), np.arange(8) + 0.5
    for ax, image, label in zip(axes[0], test.inputs[..., 0], test.labels, strict=False):
        ax.imshow(image, cmap="gray_r")
        ax.set_title(f"is {label}", fontsize=9)
    for row, (answers, weights) in zip(axes[1:], learned.values(), strict=True):
        for ax, image, seen, taken in zip(row, test.inputs[..., 0], weights, answers, strict=False):
            shown = ax.imshow(seen, cmap="viridis", extent=frame, vmin=0, vmax=weights[:count].max())
            ax.contour(middle, middle, image, levels=[0.5], colors="white", linewidths=1)
            ax.set_title(f"read as {taken}", fontsize=9)
        figure.colorbar(shown, ax=row, fraction=0.02, pad=0.01).ax.tick_params(labelsize=7)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    for ax, name in zip(axes[:, 0], ["image", *learned], strict=True):
        ax.set_ylabel(name.replace(" and ", "\nand ").replace("Vision ", "Vision\n"), fontsize=9)
    figure.suptitle("Where the query looks: colour = attention weight; white: the outline of the digit", fontsize=11)
    replace(path, lambda partial: figure.savefig(partial, dpi=150, metadata={"Software": None}))
    pyplot.close(figure)


def draw_spoken(path, test, learned, count=4):
    """Some recordings, the word marked, and the attention over time."""
    from matplotlib import pyplot

    (answers, weights), *_ = learned.values()
    picked = np.linspace(0, len(test.labels) - 1, count).astype(int)
    figure, axes = pyplot.subplots(
        2, count, figsize=(3 * count, 4.4), layout="constrained", sharex=True, height_ratios=(3, 1.4), sharey="row"
    )
    T = test.inputs.shape[1]
    seconds = spoken.WINDOW / 2 + spoken.HOP * np.arange(T)
    for i, (above, below) in zip(picked, axes.T, strict=True):
        word, said, taken = test.where[i], spoken.WORDS[test.labels[i]], spoken.WORDS[answers[i]]
        edges = (seconds[0], seconds[-1], -0.5, test.inputs.shape[-1] - 0.5)
        above.imshow(test.inputs[i].T, origin="lower", aspect="auto", cmap="magma", extent=edges)
        above.set_title(f"“{said}”, heard as “{taken}”", fontsize=10)
        below.axvspan(*seconds[word][[0, -1]], color="#d9d9d9", label="the word")
        below.plot(seconds, weights[i], color="#00507a", label="attention")
        below.set_xlabel("time (s)")
    axes[0, 0].set_ylabel("mel band\n(log power, standardised)")
    axes[1, 0].set_ylabel("weight")
    axes[1, 0].legend(fontsize=7, loc="upper left")
    figure.suptitle("Where in the noise the query listens; nobody told it where the word is", fontsize=11)
    replace(path, lambda partial: figure.savefig(partial, dpi=150, metadata={"Software": None}))
    pyplot.close(figure)
