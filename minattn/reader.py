"""Reading aloud: letters -> phonemes with `seq2seq`, trained on phrases of the Python manual.

What the demo trains, what `look` asks, and what made the weights that come with the package.
"""

import zlib
from typing import NamedTuple

import numpy as np

from minattn import optim, training, tree
from minattn.attention import VARIANTS
from minattn.data import phrases
from minattn.models import seq2seq
from minattn.op import bind

BUCKETS = ((1, 8), (9, 16), (17, 24), (25, 32), (33, 40), (41, 48))  # letters in the source
FIXED = "fixed vector"  # the reader without attention
WARM_UP, MAX_NORM = 50, 1.0


class Settings(NamedTuple):
    """How readers are trained. N: recurrent width; I: width of the embeddings; attention: a name in VARIANTS."""

    attention: str = "additive"
    updates: int = 1700
    seed: int = 0
    N: int = 64
    I: int = 32
    batch: int = 64
    learning_rate: float = 4e-3


class Run(NamedTuple):
    """One reader in training; everything needed to go on."""

    params: dict
    state: dict | None
    losses: tuple


class Reading(NamedTuple):
    """phonemes as symbols; written: all that was written, "end" included; weights (T, S): from which letters."""

    phonemes: tuple
    written: tuple
    weights: np.ndarray


def names(settings):
    """The two readers: without attention and with it."""
    return FIXED, settings.attention


def op(name, **options):
    """The reader of that name as an op."""
    return bind(seq2seq, attention=None if name == FIXED else VARIANTS[name], **options)


def start(settings):
    """Fresh parameters for both readers, float32: {name: Run}."""
    return {name: Run(initial(settings, name), None, ()) for name in names(settings)}


def initial(settings, name, **options):
    """The parameters of one reader before training; options as for `op`."""
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    sizes = {"source_vocabulary": len(phrases.LETTERS), "target_vocabulary": len(phrases.PHONEMES)}
    return tree.astype(op(name, **options).init(rng, I=settings.I, N=settings.N, **sizes), np.float32)


def batches(settings, train):
    """The endless stream of batches of a seed: the same for both readers, and after an interruption."""
    rng = np.random.default_rng([settings.seed, 1])
    return (phrases.batch(chosen) for chosen in phrases.batches(train, rng, settings.batch))


def update(name, run, batch, settings):
    """One step of Adam on one batch -> the next Run."""
    inputs, lengths = (batch.source, batch.target_in), {"source_lengths": batch.source_lengths}
    loss, grads = training.gradients(
        op(name), run.params, inputs, batch.target_out, ignore_index=phrases.PAD, lengths=lengths
    )
    grads, _ = optim.clip(grads, MAX_NORM)
    pace = optim.schedule(len(run.losses), settings.updates, peak=settings.learning_rate, warm_up=WARM_UP)
    params, state = optim.adam(run.params, grads, run.state, learning_rate=pace)
    return Run(params, state, (*run.losses, float(loss)))


def read(name, params, texts):
    """Greedy reading of several texts at once -> one Reading a text."""
    sources = [phrases.encode(text) for text in texts]
    lengths = np.array([len(source) for source in sources])
    padded = np.full((len(texts), lengths.max()), phrases.PAD)
    for row, source in zip(padded, sources, strict=True):
        row[: len(source)] = source
    steps = 2 * padded.shape[1] + 8  # no phrase has that many phonemes
    marks = {"start": phrases.START, "end": phrases.END}
    decoded = op(name).greedy(params, padded, source_lengths=lengths, steps=steps, **marks)
    readings = []
    for tokens, weights, length in zip(decoded.tokens, decoded.weights, lengths, strict=True):
        tokens = tokens[: 2 * length + 8]
        steps = min(int((tokens != phrases.END).sum()) + 1, len(tokens))
        written = tuple("end" if i == phrases.END else phrases.PHONEMES[i] for i in tokens[:steps])
        readings.append(Reading(phrases.spell(tokens), written, weights[:steps, :length]))
    return readings


def gradient_at_source(name, params, chosen, **options):
    """Phrases of one length -> (R, S): the norm of d(logit of the last phoneme) / d(embedded letter)."""
    batch = phrases.batch(chosen)
    model = op(name, **options)
    logits, cache = model.forward(tree.astype(params, np.float64), batch.source, batch.target_in)
    dlogits = np.zeros_like(logits)
    row, last = np.arange(len(chosen)), batch.target_lengths - 2  # the step before END
    dlogits[row, last, batch.target_out[row, last]] = 1
    dsource = model.flow(dlogits, cache).dsource
    return np.sqrt((dsource * dsource).sum(axis=-1))
