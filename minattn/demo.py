"""The main job: two readers of one size, one with a fixed vector and one with attention, learn to read aloud.

It trains both side by side, checks every gradient of both, and shows what attention buys: error against the length of
the phrase (the shape of Bahdanau 2015, figure 2), an alignment, and how much gradient reaches every letter.
"""

import contextlib
import itertools
import json
import math
import signal
import sys
import tempfile
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import numpy as np

from minattn import gradcheck, look, reader, threads, tree
from minattn.data import phrases
from minattn.recurrent import rnn
from minattn.weights import load, replace, save

QUICK = {"updates": 12, "N": 12, "I": 8, "batch": 32}
CHECKPOINT, RESULTS = "demo.npz", "demo.json"
TOGETHER = 10  # updates after which a process tells what it has learned
WORTH = 60  # updates that are worth the start of a process


def add_arguments(parser):
    defaults = reader.Settings()
    parser.add_argument("--attention", default=defaults.attention, choices=list(reader.VARIANTS), help="the mechanism")
    parser.add_argument("--updates", type=int, help=f"training steps for each reader (default {defaults.updates})")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same figures (default 0)")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where figures and demo.json go")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that everything runs, learns little")
    parser.add_argument("--resume", action="store_true", help="go on where the last run in --out was stopped")


def main(arguments):
    """Train, check, measure, draw; -> exit status."""
    settings = reader.Settings(attention=arguments.attention, seed=arguments.seed)
    settings = settings._replace(**QUICK) if arguments.quick else settings
    settings = settings._replace(updates=settings.updates if arguments.updates is None else arguments.updates)
    if settings.updates < 1:
        raise ValueError(f"--updates must be at least 1 but is {settings.updates}")
    ready(arguments.out)
    data = phrases.load()
    test = data.test[:120] if arguments.quick else data.test
    checkpoint = arguments.out / CHECKPOINT
    runs, seconds = _resume(checkpoint, settings) if arguments.resume else (reader.start(settings), {})
    print(f"Learning to read {len(data.train):,} phrases of the Python manual aloud: {settings.updates} updates each.")
    for name, run in runs.items():
        print(f"  {name:14} {sum(leaf.size for _, leaf in tree.leaves(run.params)):8,} parameters")

    runs, seconds, stopped = train(runs, settings, data.train, seconds)
    _keep(checkpoint, runs, settings, seconds)
    done = len(runs[reader.FIXED].losses)
    if stopped:
        print(f"Stopped after {done} of {settings.updates} updates; --resume goes on from there.")
    print("Reading the test phrases, checking gradients, drawing: some ten seconds (Ctrl-C skips that).", flush=True)

    readings = {name: reader.read(name, run.params, [p.text for p in test]) for name, run in runs.items()}
    errors = count_errors(readings, test)
    checks = check_gradients(settings, runs, test)
    results = {
        "settings": settings._asdict(),
        "updates": done,
        "seconds": seconds,
        "parameters": {name: sum(x.size for _, x in tree.leaves(run.params)) for name, run in runs.items()},
        "gradient_error": checks,
        "phonemes_wrong": errors,
        "examples": examples(readings, test),
        "losses": {name: run.losses for name, run in runs.items()},
    }
    results["figures"] = draw(arguments.out, settings, runs, test, readings, errors)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    replace(arguments.out / RESULTS, lambda partial: partial.write_text(text, encoding="utf-8"))
    print(table(results))
    print(f"Figures and {RESULTS} are in {arguments.out}/: {', '.join(results['figures'])}")
    return 0


def ready(out):
    """What is needed at the end has to be there at the start: the libraries, and a folder that can be written to."""
    import matplotlib  # noqa: F401
    import tqdm  # noqa: F401

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


def train(runs, settings, train, seconds):
    """Update both readers on the same batches, in a process each where that pays; Ctrl-C keeps what was learned."""
    from tqdm import tqdm

    done = len(runs[reader.FIXED].losses)
    seconds = {name: seconds.get(name, 0.0) for name in runs}
    batches = itertools.islice(reader.batches(settings, train), done, settings.updates)
    stopped, pause = False, 0.1 if sys.stderr.isatty() else 10  # a log wants fewer lines than a screen
    with (
        tqdm(total=settings.updates, initial=done, unit="update", dynamic_ncols=True, mininterval=pause) as bar,
        _processes(len(runs), settings.updates - done) as pool,
    ):
        try:
            while not stopped and (some := list(itertools.islice(batches, TOGETHER if pool else 1))):
                after, stopped = _update(runs, some, settings, pool)
                runs = {name: run for name, (run, _) in after.items()}
                seconds = {name: seconds[name] + spent for name, (_, spent) in after.items()}
                bar.set_postfix({name: f"{np.mean(run.losses[-20:]):.3f}" for name, run in runs.items()}, refresh=False)
                bar.update(len(some))
        except KeyboardInterrupt:
            stopped = True
    return runs, seconds, stopped


def _update(runs, batches, settings, pool):
    """-> {name: (the next Run, the seconds that it took)}, and whether Ctrl-C came, which ends what was begun."""
    if pool is None:
        return {name: updated(name, run, batches, settings) for name, run in runs.items()}, False
    futures = {}
    try:
        futures |= {name: pool.submit(updated, name, run, batches, settings) for name, run in runs.items()}
        return {name: future.result() for name, future in futures.items()}, False
    except KeyboardInterrupt:  # the processes have not heard it
        return {name: future.result() for name, future in futures.items()}, True
    except BrokenExecutor:  # a process could not be started, or was ended from outside
        return _update(runs, batches, settings, None)


def updated(name, run, batches, settings):
    """One reader after these batches -> the next Run, and the seconds that it took."""
    begin = time.perf_counter()
    for batch in batches:
        run = reader.update(name, run, batch, settings)
    return run, time.perf_counter() - begin


@contextlib.contextmanager
def _processes(number, updates):
    """A pool of so many processes; None for a few updates, and where there are no cores for them."""
    try:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
    except ImportError:  # as in a browser
        number = math.inf
    if updates < WORTH or threads.cores() < number:
        yield None
        return
    with ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _begin) as pool:
        yield pool


def _begin():
    """In a new process: it does not hear Ctrl-C, and its BLAS keeps to one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ModuleNotFoundError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)


def count_errors(readings, test):
    """Wrong phonemes (insertions, deletions, substitutions) by bucket of source length, for known and unseen words."""
    rows = []
    for low, high in reader.BUCKETS:
        inside = [i for i, phrase in enumerate(test) if low <= len(phrase.text) <= high]
        for kind, unseen in (("known words", False), ("unseen words", True)):
            chosen = [i for i in inside if test[i].unseen == unseen]
            wrong = {
                name: sum(phrases.distance(read[i].phonemes, test[i].phonemes) for i in chosen)
                for name, read in readings.items()
            }
            total = sum(len(test[i].phonemes) for i in chosen)
            rows.append({"letters": [low, high], "words": kind, "phrases": len(chosen), "phonemes": total} | wrong)
    return rows


def check_gradients(settings, runs, test):
    """The largest error of both readers: every element of a small one, and the adjoint test at full size."""
    largest = {}
    for name, run in runs.items():
        model, rng = reader.op(name), np.random.default_rng(settings.seed)
        small = max(gradcheck.check_case(model, case, rng).error for case in model.cases(rng))
        batch = phrases.batch(test[:8])
        inputs, lengths = (batch.source, batch.target_in), {"source_lengths": batch.source_lengths}
        full = gradcheck.adjoint(model, tree.astype(run.params, np.float64), inputs, lengths, rng)
        largest[name] = {"every element, small": small, "adjoint test, trained": full}
    return largest


def examples(readings, test, count=8):
    """A few readings beside the right answer, spread over the lengths."""
    order = sorted(range(len(test)), key=lambda i: (len(test[i].text), i))
    picked = [order[round(k * (len(order) - 1) / (count - 1))] for k in range(count)]
    return [
        {"text": test[i].text, "right": " ".join(test[i].phonemes)}
        | {name: " ".join(read[i].phonemes) for name, read in readings.items()}
        for i in picked
    ]


def table(results):
    """Error by length, gradient errors and times, as text."""
    names = list(results["seconds"])
    lines = ["", f"{'wrong phonemes':24}{'phrases':>8}" + "".join(f"{name:>16}" for name in names)]

    def line(title, rows):
        total = sum(row["phonemes"] for row in rows)
        cells = [f"{sum(row[name] for row in rows) / total:16.1%}" if total else f"{'-':>16}" for name in names]
        return f"{title:24}{sum(row['phrases'] for row in rows):8}" + "".join(cells)

    rows = results["phonemes_wrong"]
    for low, high in reader.BUCKETS:
        lines.append(line(f"  {low:2} to {high:2} letters", [row for row in rows if row["letters"] == [low, high]]))
    for kind in ("known words", "unseen words"):
        lines.append(line(f"  all, {kind}", [row for row in rows if row["words"] == kind]))
    largest = {name: max(errors.values()) for name, errors in results["gradient_error"].items()}
    lines += ["", f"{'largest gradient error':32}" + "".join(f"{largest[name]:16.1e}" for name in names)]
    if any(row[name] > row["phonemes"] for row in rows for name in names):
        lines.insert(-2, "  (inserted phonemes count too, so more than 100% can be wrong)")
    lines += [f"{'seconds of training':32}" + "".join(f"{results['seconds'][name]:16.1f}" for name in names), ""]
    return "\n".join(lines)


def draw(out, settings, runs, test, readings, errors):
    """The three figures -> their file names."""
    from matplotlib import pyplot

    from minattn import plots

    out.mkdir(parents=True, exist_ok=True)
    names = list(runs)
    size = f"{settings.N} recurrent features, {len(runs[names[0]].losses)} updates"
    scale = f"({len(test)} phrases kept out of training; {size})"

    def finish(figure, name):
        replace(out / name, lambda partial: figure.savefig(partial, dpi=150, metadata={"Software": None}))
        pyplot.close(figure)
        return name

    # error against length
    figure, ax = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    wrong = {name: [share(errors, bucket, name) for bucket in reader.BUCKETS] for name in names}
    plots.curves(
        {label(name): shares for name, shares in wrong.items()},
        [f"{low}–{high}" for low, high in reader.BUCKETS],
        ax=ax,
        title=f"Reading aloud: wrong phonemes by length of the phrase\n{scale}",
        xlabel="length of the phrase (letters)",
        ylabel="phonemes wrong",
        percent=True,
        ylim=(0, None),
    )
    files = [finish(figure, "error_by_length.png")]

    # an alignment
    chosen = silent_letters(readings[settings.attention], test)
    reading = readings[settings.attention][chosen]
    title = "Which letters each phoneme was read from\n(attention weights, learned from phrases and sounds alone)"
    files.append(look.draw(reading, test[chosen].text, out / "alignment.png", title).name)

    # gradient flow
    tall, length = most_common_length(test)
    before = {name: reader.initial(settings, name) for name in names}
    before = {f"LSTM, {label(name)}": reader.gradient_at_source(name, params, tall) for name, params in before.items()}
    plain = reader.initial(settings, reader.FIXED, cell=rnn)
    before["RNN, fixed vector"] = reader.gradient_at_source(reader.FIXED, plain, tall, cell=rnn)
    after = {f"LSTM, {label(name)}": reader.gradient_at_source(name, run.params, tall) for name, run in runs.items()}
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for ax, norms, when in zip(axes, (before, after), ("before training", "after training"), strict=True):
        plots.gradient_flow(
            norms,
            ax=ax,
            title=f"{when.capitalize()}: what the last phoneme\nsends back to every letter",
            xlabel=f"position of the letter ({len(tall)} phrases of {length} letters, and their end)",
            ylabel="norm of d logit / d letter",
        )
        ax.get_legend().remove()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, title="line: median, band: middle half")
    return [*files, finish(figure, "gradient_flow.png")]


def label(name):
    """How a reader is called in figures."""
    return name if name == reader.FIXED else f"{name} attention"


def silent_letters(readings, test):
    """The phrase of 16 to 28 letters, known words, read without a mistake, with most letters that make no sound."""
    right = [
        i
        for i, phrase in enumerate(test)
        if 16 <= len(phrase.text) <= 28 and not phrase.unseen and readings[i].phonemes == phrase.phonemes
    ]
    candidates = right or [i for i, phrase in enumerate(test) if 16 <= len(phrase.text) <= 28]
    return max(candidates, key=lambda i: (len(test[i].text) - len(test[i].phonemes), -i))


def most_common_length(test):
    """The long phrases of the commonest length beyond 40 letters, and that length: one row each in a plot."""
    lengths = [len(phrase.text) for phrase in test if len(phrase.text) > 40]
    length = max(sorted(set(lengths)), key=lengths.count)
    return [phrase for phrase in test if len(phrase.text) == length], length


def share(errors, bucket, name):
    """The share of wrong phonemes of one reader in one bucket of lengths."""
    rows = [row for row in errors if row["letters"] == list(bucket)]
    total = sum(row["phonemes"] for row in rows)
    return sum(row[name] for row in rows) / total if total else np.nan


def _keep(path, runs, settings, seconds):
    """The checkpoint: parameters, what the optimiser knows, and where the data stands."""
    content = {name: {"params": run.params, "state": run.state} for name, run in runs.items() if run.losses}
    about = {"settings": settings._asdict(), "seconds": seconds}
    save(path, content, about | {"losses": {name: run.losses for name, run in runs.items()}})


def _resume(path, settings):
    content, about = load(path)
    if not {"settings", "seconds", "losses"} <= about.keys():
        raise ValueError(f"{path} is not where a demo was stopped: leave out --resume to start anew")
    if about["settings"] != settings._asdict():
        changed = [key for key, value in settings._asdict().items() if about["settings"].get(key) != value]
        was = ", ".join(f"{key}={about['settings'].get(key)}" for key in changed)
        raise ValueError(f"{path} was trained with {was}: give the same options to go on, or leave out --resume")
    runs = {name: reader.Run(c["params"], c["state"], tuple(about["losses"][name])) for name, c in content.items()}
    return runs or reader.start(settings), about["seconds"]
