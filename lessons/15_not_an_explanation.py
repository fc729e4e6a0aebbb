# %% [markdown]
# # 15 · A map is not an explanation
#
# **You will be able to** construct, for a trained model, a second attention map that differs from the first and gives
# the same answer; say what removing one entry does, and why its weight alone does not tell; and say what may be read
# from a heatmap and what may not.
#
# *Needs lesson 01, and lesson 06 for the reader. Some linear algebra in Derive. Forty minutes.*

# %%
from types import SimpleNamespace

import numpy as np
from matplotlib import pyplot as plt

from minattn import look, reader, tree
from minattn.attention import additive, dot
from minattn.classroom import agree, check, data, keep, source
from minattn.data import digits, phrases
from minattn.functions import embedding, softmax, softmax_backward
from minattn.models import pooling, seq2seq, vision
from minattn.op import bind
from minattn.plots import heatmap
from minattn.plots.canvas import COLOURS
from minattn.recurrent import bidirectional

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A small model reads written digits: two convolutions see the S = 64 places of an image, one learned query looks at
# all of them, and ten scores, the *logits*, are computed from the average that it takes. It was trained beforehand,
# as `python -m minattn classify digits` does (`lessons/data/make_15_digits.py`).
#
# The function `another` is explained further below. It takes a row of weights and moves as much of it as it can away
# from where it lies, under some *laws* that must stay true.

# %%
model = bind(vision, kernels=(3, 3), strides=(1, 1), L=0)
trained, _ = data("15_digits.npz")
params = tree.astype(trained, np.float64)

test = digits.split()[1]
logits, cache = model.forward(params, test.images[..., None])  # (B, V)
value = cache.pooled.asked.value  # (B, S, E)
weights = cache.pooled.weights  # (B, S)
context = (weights[:, None] @ value)[:, 0]  # (B, E)
print(f"{(logits.argmax(axis=1) == test.labels).mean():.0%} of {len(logits)} test digits are read right")


def another(weights, laws):
    """weights (S,), laws (S, *) -> other weights: >= 0, with the same weights @ laws."""
    old, weights, free = weights, weights.copy(), np.ones(len(weights), dtype=bool)
    while True:
        left, sizes, _ = np.linalg.svd(laws[free])
        idle = left[:, (sizes > 1e-10 * sizes[0]).sum() :]  # (free, *)  directions that no law notices
        step = -idle @ (idle.T @ old[free])  # of those the one that leaves the old places fastest
        if not len(step) or np.abs(step).max() < 1e-9:
            return weights
        far = np.where(step < 0, weights[free] / np.where(step < 0, -step, 1), np.inf)  # until a weight is 0
        weights[free] = np.maximum(weights[free] + far.min() * step, 0)
        gone = np.flatnonzero(free)[far.argmin()]
        weights[gone], free[gone] = 0, False


def moved(weights, others):
    return np.abs(weights - others).sum(axis=-1) / 2  # 0: the same map, 1: nowhere the same


ones = np.ones((64, 1))
shown = [np.flatnonzero(test.labels == digit)[0] for digit in (0, 3, 5)]  # the first 0, 3 and 5 of the test digits
maps = {
    "the model's map": lambda i: weights[i],
    "same average": lambda i: another(weights[i], np.hstack([value[i], ones])),
    "same ten scores": lambda i: another(weights[i], np.hstack([value[i] @ params["W_out"], ones])),
}
drawn = {name: np.stack([make(i) for i in shown]) for name, make in maps.items()}

# %%
figure, axes = plt.subplots(3, 4, figsize=(9, 7.6), layout="constrained")
middle = np.arange(10) - 0.5  # with a border of white
for row, (line, i) in enumerate(zip(axes, shown, strict=True)):
    line[0].imshow(test.images[i], cmap="gray_r")
    line[0].set_title(f"read as {logits[i].argmax()}")
    for ax, (name, rows) in zip(line[1:], drawn.items(), strict=True):
        at = ax.imshow(
            rows[row].reshape(8, 8),
            cmap="cividis",
            vmin=0,
            vmax=max(rows[row].max() for rows in drawn.values()),
            extent=(0, 8, 8, 0),
        )
        ax.contour(middle, middle, np.pad(test.images[i], 1), levels=[0.5], colors="white", linewidths=1)
        ax.set(xlim=(0, 8), ylim=(8, 0))
        share = moved(weights[i], rows[row])
        ax.set_title(name if name == "the model's map" else f"{name},\n{share:.0%} of it moved")
    figure.colorbar(at, ax=line[1:], label="weight", fraction=0.02, pad=0.01)
for ax in axes.ravel():
    ax.set(xticks=[], yticks=[])
figure.suptitle("Other maps, same output (white: the outline of the digit)")
keep(figure, "15_two_maps")

# %% [markdown]
# The third column keeps the average of what the places hold, all 24 numbers of it; the last one keeps only the ten
# scores that are computed from it, and has more freedom. In every row all three maps lead to the same answer, with
# the same certainty. Is it really the same? All weights are at least 0, they sum to 1, and:

# %%
agree(drawn["same average"].sum(axis=1), np.ones(3))
agree(np.einsum("bs,bse->be", drawn["same average"], value[shown]), context[shown])
others = np.einsum("bs,bse->be", drawn["same ten scores"], value[shown])
agree(others @ params["W_out"] + params["b_out"], logits[shown])
print("smallest weight", min(rows.min() for rows in drawn.values()).round(12))

# %% [markdown]
# Over more digits, how much of the weight can be moved at least:

# %%
first = range(200)
for name, laws in (("same average", value), ("same ten scores", value @ params["W_out"])):
    share = [moved(weights[i], another(weights[i], np.hstack([laws[i], ones]))) for i in first]
    low, half, high = np.quantile(share, [0.1, 0.5, 0.9])
    print(f"{name}: half of the digits allow {half:.0%} or more, a tenth {high:.0%} or more, a tenth at most {low:.0%}")

# %% [markdown]
# So the sentence "it read a 0 because it looked there" has a rival: with a map that looks elsewhere the rest of the
# model would have said the same. That does not make the map useless. Give it up altogether and look at every place
# alike, or give each digit the weights shuffled among its places:

# %%
shuffled = np.random.default_rng(0).permuted(weights, axis=1)
for name, rows in (
    ("own weights", weights),
    ("all places alike", np.full_like(weights, 1 / 64)),
    ("shuffled", shuffled),
):
    answers = ((rows[:, None] @ value)[:, 0] @ params["W_out"] + params["b_out"]).argmax(axis=1)
    print(f"{name:16} {(answers == test.labels).mean():.0%} right")

# %% [markdown]
# This model needs weights that fit. It does not need *these*. (Whether a model trained with equal weights from the
# start would do as well is another question, and the first that Wiegreffe and Pinter ask; it is not tried here.)

# %% [markdown]
# ## Compute
#
# The three entries of lesson 01: values 10, 20, 30 and weights 0.665, 0.245, 0.090. The answer was 14.25. Add some multiple
# of (1, -2, 1) to the weights. They still sum to 1, because 1 - 2 + 1 = 0, and the answer stays, because
# 10 - 2 · 20 + 30 = 0.
#
# | | a (10) | b (20) | c (30) | answer |
# |---|---|---|---|---|
# | as it was | 0.665 | 0.245 | 0.090 | 14.25 |
# | plus 0.122 · (1, -2, 1) | 0.788 | 0 | 0.212 | 14.25 |
# | minus 0.090 · (1, -2, 1) | 0.575 | 0.425 | 0 | 14.25 |
#
# One map says that b was never looked at, another says that of c. All between them are right as well.
#
# Now take an entry out and share its weight among the others, in proportion. Without c: the answer
# becomes (14.25 - 0.090 · 30) / (1 - 0.090) = 12.69. In general it changes by
#
# | taken out | weight / (1 - weight) | answer - value | change, their product |
# |---|---|---|---|
# | a | 0.665 / 0.335 = 1.987 | 14.25 - 10 = 4.25 | +8.44 |
# | b | 0.245 / 0.755 = 0.324 | 14.25 - 20 = -5.75 | -1.86 |
# | c | 0.090 / 0.910 = 0.099 | 14.25 - 30 = -15.75 | -1.56 |
#
# b has nearly three times the weight of c, and taking it out changes hardly more. An entry whose value equals the
# answer can be taken out without any change, whatever its weight.

# %%
small, tens = softmax(np.array([1.0, 0.0, -1.0])), np.array([10.0, 20.0, 30.0])
answer = small @ tens
direction = np.array([1.0, -2.0, 1.0])
for step in (0, small[1] / 2, -small[2]):
    rows = small + step * direction
    print("weights", rows, "answer", (rows @ tens).round(2))
for s, name in enumerate("abc"):
    rest = np.delete(small, s) / (1 - small[s])
    print(f"without {name}: {rest @ np.delete(tens, s):.2f}, changed by {rest @ np.delete(tens, s) - answer:+.2f}")

# %% [markdown]
# *You can go on to lesson 16 from here. What follows says how much freedom there is, and looks at a model in which the
# entries are not what they seem.*

# %% [markdown]
# ## Derive
#
# **How many maps.** A row of S weights $w$ and values $v_s$ with E features give the context $c = \sum_s w_s v_s$.
# Other weights $w + z$ give the same one if
#
# $$\sum_s z_s v_s = 0 \quad (E \text{ equations}), \qquad \sum_s z_s = 0 \quad (1 \text{ equation}), \qquad
#   w_s + z_s \ge 0.$$
#
# Equations in S unknowns that number E + 1 leave at least S - E - 1 free directions, the *null space* of the E + 1
# rows. If all weights are larger than 0, as after a softmax, a short step in any of them is allowed. So for S > E + 1
# a map cannot be recovered from what it leads to: it is not *identifiable* (Brunner et al. 2020). If only the logits
# $c W$ have to stay, there are V equations in place of E.
#
# `another` walks in the null space: of all its directions it takes the one that leaves the old places fastest, goes
# until the first weight reaches 0, lets that one rest there, and goes on with the others until nothing can move.
# Rounding apart, every law is kept at each step. It need not find the farthest map; the shares above are lower
# bounds.

# %%
for name, laws in (("average", value[shown[0]]), ("ten scores", value[shown[0]] @ params["W_out"])):
    free = 64 - np.linalg.matrix_rank(np.hstack([laws, ones]))
    print(f"same {name}: {laws.shape[1]} + 1 laws, {free} free directions of 64")

# %% [markdown]
# For the average one more than 64 - 24 - 1: the values come from a layer norm (lesson 11), so that their features
# always sum to the same number, up to gain and bias, and one law says nothing new.
#
# **What removing does.** Let the entry $s$ be masked; softmax then divides the rest by $1 - w_s$:
#
# $$c_{-s} = \frac{c - w_s v_s}{1 - w_s}, \qquad c_{-s} - c = \frac{w_s}{1 - w_s} \, (c - v_s).$$
#
# Two things count: the weight, and how far the value lies from what the others say anyway. The gradient at a score
# has the same two factors. From lesson 07, with $\text{dweights}_s = v_s \cdot \text{dcontext}$,
#
# $$\text{dscores}_s = w_s \, (v_s - c) \cdot \text{dcontext}.$$

# %% [markdown]
# ## Equal to the library

# %%
rng = np.random.default_rng(0)
T, S, D, E = 3, 7, 4, 5
query, key, content = rng.normal(size=(T, D)), rng.normal(size=(S, D)), rng.normal(size=(S, E))
whole, looked = dot.forward({}, query, key, content)
for s in range(S):
    without, _ = dot.forward({}, query, key, content, mask=np.arange(S) != s)  # True = may look
    w = looked.weights[:, s, None]  # (T, 1)
    change = w / (1 - w) * (whole - content[s])  # (T, E)
    agree(whole + change, without)

dcontext = rng.normal(size=(T, E))
far = (content - whole[:, None]) @ dcontext[..., None]  # (T, S, 1)
agree(looked.weights * far[..., 0], softmax_backward(dcontext @ content.T, looked.weights))

# %% [markdown]
# And in the digit model the average is what the library calls the context of its attention pooling:

# %%
agree(context, cache.context)
source(pooling.forward)

# %% [markdown]
# ## A surprise
#
# In the digit model we only knew what the average was made of. The reader of lesson 06 is trained to sound out
# letters; it looks at the letters while it writes phonemes, and its map follows the reading. Here we can ask two
# questions of every phoneme and every letter:
#
# - **hide the entry**: the reader has read the whole phrase, but may not look at what it noted down at that letter;
# - **replace the letter**: the reader gets another letter at that place, five of them in turn.
#
# What changes is measured as the share of the phoneme's probability that moves elsewhere: 0 for nothing, 1 for all.

# %% [markdown]
# **Predict.** "through the night" makes S = 18 entries, with the spaces and the end, and each has E = 64 features. They
# are independent of each other, as so few vectors with so many features usually are: by *Derive*, no other weights lead
# to the same contexts, and the reader's map is the only one possible. Now each letter in turn is replaced by another.
# Which letters change a phoneme by more than half?
#
# - a: those with much weight, and hardly any others: no other map would have done
# - b: whichever, without any relation to the map: there are always other weights
# - c: those with much weight, and many with next to none as well

# %%
### BEGIN SOLUTION
other_weights = "c"
### END SOLUTION
check.other_weights(other_weights)

# %%
shipped, _ = look.readers()
reads = tree.astype(shipped["additive"], np.float64)
alphabet = [i for i, letter in enumerate(phrases.LETTERS) if letter.isalpha() and len(letter) == 1]


def hiding(may):
    """Additive attention that always wears this mask."""

    def attend(params, query, memory, bias=None, *, mask=None):
        return additive.attend(params, query, memory, bias, mask=may)

    return SimpleNamespace(**vars(additive) | {"attend": attend})


def probabilities(source, target, attention=additive):
    logits, cache = bind(seq2seq, attention=attention).forward(reads, source, target)
    return softmax(logits), cache.weights  # (B, T, V), (B, T, S)


def ask(text, rng, times=5):
    """-> phonemes, and (T, S) each: weight, change where the entry is hidden, change where the letter is another."""
    (reading,) = reader.read("additive", reads, [text])
    ids = [phrases.END if phoneme == "end" else phrases.PHONEMES.index(phoneme) for phoneme in reading.written]
    source, target = phrases.encode(text)[None], np.array([[phrases.START, *ids[:-1]]])  # (1, S + 1), (1, T)
    before, weights = probabilities(source, target)
    S, T = source.shape[1] - 1, target.shape[1] - 1  # neither the end of the letters nor that of the phonemes

    def change(after):
        return np.abs(after - before)[:, :T].sum(axis=-1) / 2  # (B, T)

    many, targets = np.repeat(source, S, axis=0), np.repeat(target, S, axis=0)
    hidden, _ = probabilities(many, targets, hiding(~np.eye(S, S + 1, dtype=bool)[:, None]))
    replaced = 0
    for _ in range(times):
        other = many.copy()
        for s in range(S):
            other[s, s] = rng.choice([letter for letter in alphabet if letter != source[0, s]])
        replaced = replaced + change(probabilities(other, targets)[0]).T / times
    return reading.written[:T], weights[0, :T, :S], change(hidden).T, replaced


text = "through the night"
phonemes, *found = ask(text, np.random.default_rng(0))
figure, axes = plt.subplots(1, 3, figsize=(11.5, 4.2), width_ratios=[1, 1, 1.15], layout="constrained")
titles = "Where it looks", "What changes if the entry is hidden", "What changes if the letter is another"
for ax, rows, title in zip(axes, found, titles, strict=True):
    heatmap(
        rows,
        phonemes,
        text,
        ax=ax,
        vmax=1,
        title=title,
        xlabel="letter",
        ylabel="phoneme" if ax is axes[0] else None,
        cbar=ax is axes[2],
        cbar_label="weight (left), or share of the probability moved",
    )
keep(figure, "15_look_and_need")

# %% [markdown]
# The second picture lies within the first, and half of its rows are nearly dark: often the reader gets along without
# the entry that it looks at most, because its neighbours know the letter too. The third is broader: letters with
# hardly any weight change the phoneme. (With another letter in the place of a space, two words become one.) Is that
# so in general? Twenty short phrases from the test sections that the reader reads without error:

# %%


def ranks(row):
    return row.argsort().argsort()


def rank_correlation(left, right):
    return np.corrcoef(ranks(left), ranks(right))[0, 1]  # 1: the same order, 0: no relation, -1: the reverse


short = [phrase for phrase in phrases.load().test if len(phrase.text) <= 20 and not phrase.unseen]
readings = reader.read("additive", reads, [phrase.text for phrase in short])
good = [phrase.text for phrase, reading in zip(short, readings, strict=True) if reading.phonemes == phrase.phonemes]
rng = np.random.default_rng(1)
looks, hides, needs, orders = [], [], [], []
for phrase in good[:20]:
    _, weight, hidden, replaced = ask(phrase, rng)
    for rows, each in ((looks, weight), (hides, hidden), (needs, replaced)):
        rows.append(each.ravel())
    for w, h, r in zip(weight, hidden, replaced, strict=True):
        orders.append(
            (rank_correlation(w, h), rank_correlation(w, r), w.argmax() == h.argmax(), w.argmax() == r.argmax())
        )
weight, hidden, replaced = map(np.concatenate, (looks, hides, needs))
by_hiding, by_replacing, top_hidden, top_replaced = np.mean(orders, axis=0)

print(f"{len(orders)} phonemes, {len(weight)} pairs of a phoneme and a letter")
print(f"rank correlation with the weight, mean over phonemes: hiding {by_hiding:.2f}, replacing {by_replacing:.2f}")
print(f"largest weight has largest effect: hiding {top_hidden:.0%}, replacing {top_replaced:.0%} of the phonemes")
strong, heavy = replaced > 0.5, weight > 0.5
print(f"letters that change more than half when replaced: {strong.sum()}; of these with a weight < 0.01:", end=" ")
print(f"{(strong & (weight < 0.01)).sum() / strong.sum():.0%}")
print(f"entries with a weight > 0.5: {heavy.sum()}; of these that change < 0.05 when hidden:", end=" ")
print(f"{(heavy & (hidden < 0.05)).sum() / heavy.sum():.0%}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.4), sharey=True, layout="constrained")
for ax, change, what, rho, colour in (
    (axes[0], hidden, "its entry is hidden", by_hiding, COLOURS[0]),
    (axes[1], replaced, "the letter is another", by_replacing, COLOURS[1]),
):
    ax.scatter(np.maximum(weight, 1e-6), change, s=9, color=colour, alpha=0.35, linewidths=0)
    ax.set(xscale="log", xlabel="attention weight of the letter (at least 10⁻⁶)")
    ax.set_title(f"What changes if {what}\n(rank correlation {rho:.2f})")
    corner = ax.fill_between([7e-7, 0.01], 0.5, 1.03, color="#e4e4e4", linewidth=0, zorder=0)
axes[0].set_ylabel("share of the phoneme's probability moved")
figure.legend([corner], ["hardly looked at (weight < 0.01), and yet needed (change > 0.5)"], loc="outside lower center")
keep(figure, "15_weight_and_effect")

# %% [markdown]
# Left of 0.01 hide what the reader noted there, and next to nothing happens: about what it looks at, the map tells the
# truth. (The few points in the grey corner come from one phrase. The entry is hidden at every step; an earlier phoneme
# needed it, and the writer lost its place.) Replace the letter itself, and often everything changes: the grey corner is
# full. About a third of the letters that a phoneme needs were hardly looked at.
#
# The reason is that an entry of the memory is not a letter. It is made, by one matrix (128 × 64), from the state of
# an LSTM that has read the phrase from both sides, and holds its neighbours too. How strongly does that state at one
# place depend on the letter at another? That is the derivative of the state (128 numbers, before the matrix) with
# respect to the embedded letter: a matrix, of which the norm is drawn, each row divided by its sum.

# %%


def mixing(text):
    ids = phrases.encode(text)  # (S,)
    embedded, width = embedding(reads["embed_source"], ids), 2 * 64  # (S, I)
    (notes, _), cache = bidirectional.forward(reads["encoder"], np.repeat(embedded[None], width, axis=0))
    norms = []
    for s in range(len(ids)):
        dnotes = np.zeros_like(notes)  # (2N, S, 2N): one feature of entry s in each copy
        dnotes[np.arange(width), s, np.arange(width)] = 1
        (dembedded, _), _ = bidirectional.backward((dnotes, None), cache)  # (2N, S, I)
        norms.append(np.sqrt((dembedded**2).sum(axis=(0, 2))))
    return np.stack(norms) / np.sum(norms, axis=1, keepdims=True)  # (S, S)


shares = mixing(text)
_, ax = plt.subplots(figsize=(6.6, 5.4), layout="constrained")
heatmap(
    shares,
    [*text, "end"],
    [*text, "end"],
    ax=ax,
    title="An entry depends on its neighbours, not on its letter alone",
    xlabel="letter",
    ylabel="state that the entry is made from",
    cbar_label="share of the derivative",
)
keep(ax, "15_mixing")
print(f"share of its own letter: {np.diag(shares).mean():.0%} on average, at most {np.diag(shares).max():.0%}")
row, s = found[0][phonemes.index("DH")], found[0][phonemes.index("DH")].argmax()
print(f"DH has {row[s]:.0%} of its weight on the entry of {text[s]!r}, of which that letter is {shares[s, s]:.0%}")

# %% [markdown]
# So "nine tenths of the weight of DH lie on t" means that nine tenths lie on an entry of which, by this measure,
# about a quarter is that t. More layers mix more, and so does self-attention, where every token looks at every other.

# %% [markdown]
# ### What may be read from a heatmap
#
# You may say
#
# - which *entries* went into this average, and with which shares: that is what the weights are;
# - that an entry with weight 0 did not enter this average;
# - that a weight where a mask forbids it is a mistake in the program;
# - that a model's looks agree with something known beforehand (the place of a word in a recording, an alignment), as a
#   statistic over many examples and against what chance would give;
# - that a model needs its weights, after you have replaced them by equal ones and measured what is lost.
#
# You may not say, from the map alone,
#
# - that the *token* at that place led to the answer: entries are mixed;
# - that a token without weight did not matter: it may have come in through its neighbours;
# - that twice the weight is twice the importance: it depends on how far the value lies from the others;
# - that the model could not have looked elsewhere and said the same;
# - anything about the whole model from one head in one layer, or from one chosen example.
#
# And one caution against this lesson. The other maps of *See* were made with the values in hand, one for each image. No
# query asked for them, and nothing shows that a trained model would ever produce them (this is the objection of
# Wiegreffe and Pinter 2019). They prove that the output does not determine the map, and no more than that. The map that
# the model computed is still a fact about its computation; to learn what caused an answer, change something and look.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** Values 10, 20, 30 and weights 1/4, 1/2, 1/4. Which other weights give the same answer?
# 2. **Predict.** Two maps give the same context. What does their average give? What follows for how many there are?
# 3. **Mend.** Somebody measures the importance of entry s by `weights[s] = 0`, without dividing the rest by its sum,
#    and looks how far the context moves. What does that measure, and what happens if 100 is added to all values?
# 4. **Write.** The probabilities do not change if all logits grow by the same number. Let `another` keep the
#    probabilities only. How many laws are left, and does more of the weight move?
#
# <details><summary>Answers</summary>
#
# 1. (t, 1 - 2 t, t) for every t from 0 to 1/2: from all on b to half on a and half on c. Their directions are the
#    multiples of (1, -2, 1), as in *Compute*.
# 2. The same context: it is linear in the weights. With two maps there are all the mixtures between them.
# 3. The context moves by `weights[s] * value[s]`, which depends on where the zero of the values happens to lie. With
#    100 added to all values every entry looks important in proportion to its weight, though a constant that all share
#    says nothing. Divide by the rest, as a mask does, and the 100 cancels.
# 4. Subtract from each row of `value @ W_out` its mean: ten columns that sum to 0, so nine independent laws and the
#    sum, 10 in place of 11. There is one more free direction, and a little more of the weight moves.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** what removing an entry does, for many queries in many sequences at once: the contexts when the entry s is
# not there, as if its score had been masked. What is left of a row's weights is shared in proportion, so that they sum
# to 1 again. Where the whole weight of a row was on s, nothing is left, and the context is 0.
# `check.without.hint(1)` is there if you are stuck.


# %%
def without(weights, values, s):
    """weights (B, T, S), rows sum to 1; values (B, S, E); s: number of an entry, 0 to S - 1 -> context (B, T, E)."""
    ### BEGIN SOLUTION
    rest = weights.copy()
    rest[:, :, s] = 0
    total = rest.sum(axis=-1, keepdims=True)
    return (rest / np.where(total == 0, 1, total)) @ values
    ### END SOLUTION


# %%
check.without(without)

# %% [markdown]
# ## Read
#
# - Jain & Wallace 2019, *Attention is not explanation*, arXiv:1902.10186: other distributions that leave the output,
#   and weak correlation with gradients and with leaving words out.
# - Wiegreffe & Pinter 2019, *Attention is not not explanation*, arXiv:1908.04626: what such a proof would need; first
#   of all, whether equal weights do as well.
# - Brunner et al. 2020, *On identifiability in Transformers*, arXiv:1908.04211: the null space, and how far hidden
#   states mix their inputs.
# - Serrano & Smith 2019, *Is attention interpretable?*, arXiv:1906.03731: removing entries by order of weight.
