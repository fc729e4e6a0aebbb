# %% [markdown]
# # 08 · Self- and cross-attention, masks
#
# **You will be able to** tell self-attention from cross-attention by where its queries and its keys come from; write
# the masks for a future that must not be seen and for padding; and find a leak with a test of three lines.
#
# *Needs lessons 01 and 02; for the rest it is enough to know that a model is trained by its loss. Forty minutes.*

# %%
from types import SimpleNamespace

import numpy as np
from matplotlib import pyplot as plt

from minattn import optim, training, tree
from minattn.attention import dot, multihead
from minattn.classroom import agree, check, data, keep, source
from minattn.data import manual
from minattn.functions import cross_entropy, embedding, embedding_backward, linear, linear_backward, softmax
from minattn.masks import Causal, array, causal, padding
from minattn.models import block, language_model
from minattn.plots import curves, heatmap

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# ### One sequence looks at itself
#
# In **self-attention** the steps of one sequence look at each other: queries, keys and values are all made from the
# same rows. A model that writes text is built so. At every letter it guesses the next one:
#
#     reads      t  h  e     w  i  n  d  o
#     guesses    h  e     w  i  n  d  o  w
#
# While it learns, the whole text lies there at once, the next letter too. A **mask** says who may look at what. It is a
# table of booleans with a row for each step that asks and a column for each step that it might look at, and True means
# *may look*. Here are four of them. One is right.

# %%
sees = {
    "past and itself": lambda T: np.tri(T, dtype=bool),  # the causal mask: step t sees 0 .. t
    "no mask": lambda T: np.ones((T, T), dtype=bool),
    "off by one": lambda T: np.tri(T, k=1, dtype=bool),  # step t sees 0 .. t + 1
    "upside down": lambda T: ~np.tri(T, dtype=bool),  # step t sees t + 1 ..
}
print(sees["past and itself"](5).astype(int))

# %% [markdown]
# One small model is trained with each of them on the manual of Python, always from the same start and on the same
# pieces of text: an embedding, one layer of attention with two heads, and a guess at the next of 96 characters. How
# such a layer works is the matter of lesson 11, and how it knows where each letter stands that of lesson 09; you need
# not know it here. The mask is all that differs.


# %%
def writer(mask):
    """tokens (B, T) -> logits (B, T, V) of the token after each."""

    def forward(params, tokens):
        x = embedding(params["embed"], tokens)  # (B, T, M)
        settings = {"mask": mask(tokens.shape[1]), "rotary": "interleaved", "activation": "gelu_tanh"}
        normed, stack = block.stack(params["blocks"], params["norm"], x, **settings)  # (B, T, M)
        return linear(normed, params["W_out"]), (params, tokens, stack, normed)  # (B, T, V)

    def backward(dlogits, cache):
        params, tokens, stack, normed = cache
        dnormed, dW_out, _ = linear_backward(dlogits, normed, params["W_out"])
        (dx, _), dblocks, dnorm = block.stack_backward(dnormed, stack)
        dembed = embedding_backward(dx, params["embed"], tokens)
        return (None,), {"embed": dembed, "blocks": dblocks, "norm": dnorm, "W_out": dW_out}

    return SimpleNamespace(forward=forward, backward=backward)


text = manual.load()
V, T, updates = len(manual.ALPHABET), 32, 600


def train(op):
    rng = np.random.default_rng(0)
    params = language_model.init(rng, V=V, M=48, H=2, L=1, F=96, tied=False)
    flat, losses = optim.Flat(tree.astype(params, np.float32)), []
    for update in range(updates):
        starts = rng.integers(len(text.train) - T, size=(16, 1))  # (B, 1)
        rows = text.train[starts + np.arange(T + 1)]  # (B, T + 1)
        loss, dparams = training.gradients(op, flat.params, (rows[:, :-1],), rows[:, 1:])
        flat.step(dparams, learning_rate=optim.schedule(update, updates, peak=1e-2, warm_up=20), max_norm=1.0)
        losses.append(loss)
    return flat.params, np.array(losses)


ops = {name: writer(mask) for name, mask in sees.items()}
models, losses = {}, {}
for name, op in ops.items():
    models[name], losses[name] = train(op)

twenties = {name: each.reshape(-1, 20).mean(axis=1) for name, each in losses.items()}  # averages of 20 updates
ax = curves(
    twenties,
    np.arange(20, updates + 1, 20),
    title="Three of these are too good to be true",
    xlabel="updates",
    ylabel="training loss (nats a letter)",
    ylim=(0, None),
)
keep(ax, "08_too_good")

# %% [markdown]
# Three models seem to know what comes next. Ask them for what they were made for: to *write*. Then the next letter does
# not exist yet, and nothing can be copied from it. The second column below shows each model only what was written so
# far, and asks for the one letter after that; then each goes on from "The " by itself, always with the likeliest
# letter.


# %%
def reading(name, rows):
    logits, _ = ops[name].forward(models[name], rows[:, :-1])  # (B, T, V)  everything at once, as in training
    loss, *_ = cross_entropy(logits, rows[:, 1:])
    return float(loss.mean)


def writing(name, rows):
    each = []
    for t in range(1, rows.shape[1]):
        logits, _ = ops[name].forward(models[name], rows[:, :t])  # (B, t, V)  what was written so far
        loss, *_ = cross_entropy(logits[:, -1], rows[:, t])
        each.append(loss.mean)
    return float(np.mean(each))


def write(name, beginning, steps):
    tokens = manual.encode(beginning)[None]  # (1, T)
    for _ in range(steps):
        logits, _ = ops[name].forward(models[name], tokens)
        tokens = np.concatenate([tokens, logits[:, -1:].argmax(axis=-1)], axis=1)
    return manual.decode(tokens[0])


unseen = text.valid[: 64 * (T + 1)].reshape(64, T + 1)  # (B, T + 1)  topics that nobody was trained on
print(f"guessing blindly among {V} characters: {np.log(V):.2f} nats a letter\n")
print(f"{'':<18}{'all at once':<14}{'one by one':<14}writes")
for name in ops:
    print(f"{name:<18}{reading(name, unseen):<14.2f}{writing(name, unseen):<14.2f}{write(name, 'The ', 28)!r}")

# %% [markdown]
# The model with the triangle has the same loss both times. The others get their low loss from the answer, and do worse
# as soon as it is not there. Where did they look? Take a piece of text, change one letter, and see whose guesses move:
# a guess is 96 probabilities, and what is drawn is the share of probability that goes elsewhere, on average over eight
# other letters in the place of the one.


# %%
def moved(name, piece):
    """How much the guess after step t moves when letter s is changed, (T, S)."""
    tokens, T = manual.encode(piece), len(piece)  # (T,)
    others = [[c for c in "etaoinsrh" if c != letter][:8] for letter in piece]  # (S, N)
    changed = np.tile(tokens, (T, 8, 1))  # (S, N, T)
    for s in range(T):
        changed[s, :, s] = manual.encode(others[s])
    rows = np.concatenate([changed.reshape(-1, T), tokens[None]])  # (S N + 1, T)
    guesses = softmax(ops[name].forward(models[name], rows)[0])  # (S N + 1, T, V)
    moves = 0.5 * np.abs(guesses[:-1] - guesses[-1]).sum(axis=-1)  # (S N, T)  from 0 to 1
    return moves.reshape(T, 8, T).mean(axis=1).T  # (T, S)


piece = "open the window"
T = len(piece)
border = np.repeat(np.arange(T + 1), 2) - 0.5
figure, axes = plt.subplots(2, 2, figsize=(8.6, 8.6), layout="constrained")
for name, ax in zip(ops, axes.flat, strict=True):
    heatmap(
        moved(name, piece),
        piece,
        piece,
        ax=ax,
        mask=sees[name](T),
        vmax=1.0,
        cbar=False,
        title=name,
        xlabel="the letter that is changed",
        ylabel="the step whose guess moves",
    )
    ax.plot(border[1:], border[:-1], color="#d55e00", linewidth=2)
figure.colorbar(axes[0, 0].images[0], ax=axes, aspect=40, label="share of the guess that moves")
figure.suptitle(
    "The triangle through which the future leaks\n"
    "above the orange line: what a step must not know; hatched: what the mask hides"
)
keep(figure, "08_the_leak")

# %% [markdown]
# With the right mask everything above the line is hidden, and what is hidden moves nothing: not a little, 0. In the
# other three a bright stripe lies above the line, one place to the right of the diagonal. That stripe is the next
# letter, which is the answer. One step too many does nearly as much damage as no mask. (The diagonal is the step's own
# letter. It reaches the guess beside the attention too, so a mask alone does not shut it out.)
#
# That gives a test which every model that writes should pass. Change the last letter; nothing before it may move:

# %%
tokens, other = manual.encode("open the window")[None], manual.encode("open the windox")[None]
for name, op in ops.items():
    before, after = (op.forward(models[name], ids)[0] for ids in (tokens, other))
    print(f"{name:<18}{'passes' if np.array_equal(before[:, :-1], after[:, :-1]) else 'leaks'}")

# %% [markdown]
# ### One sequence looks at another
#
# In **cross-attention** the queries come from one sequence and the keys and values from another, called the *memory*.
# Nothing in the memory lies in the future, so there is no triangle. Here the memory is a list of pairs, a letter and a
# digit each, in random order; the other sequence are questions, letters, also in random order; the answer to a letter
# is the digit beside it. Pairs are drawn anew for every list, so there is nothing to know by heart: one has to look.
#
# Lists differ in length. To put many into one array, the short ones are filled up with **padding**, here `a0`, and a
# mask says that it is not there. Otherwise the question `a` would find several answers.


# %%
def lists(rng, B, S=8):
    """Pairs (B, S) and (B, S), questions (B, S), answers (B, S), lengths (B,). Questions ask for pairs that are there."""
    letters = rng.permuted(np.tile(np.arange(26), (B, 1)), axis=1)[:, :S]  # (B, S)  none twice
    digits = rng.integers(10, size=(B, S))  # (B, S)
    lengths = rng.integers(3, S + 1, size=B)  # (B,)
    asked = rng.integers(lengths[:, None], size=(B, S))  # (B, T)
    questions, answers = np.take_along_axis(letters, asked, axis=1), np.take_along_axis(digits, asked, axis=1)
    there = np.arange(S) < lengths[:, None]  # (B, S)
    return letters * there, digits * there, questions, answers, lengths


def forward(params, questions, letters, digits, *, lengths):
    query = embedding(params["letters"], questions)  # (B, T, M)
    memory = embedding(params["letters"], letters) + embedding(params["digits"], digits)  # (B, S, M)
    context, look = multihead.forward(params["look"], query, memory, memory, mask=padding(lengths))  # (B, T, M)
    return linear(context, params["W_out"]), (params, questions, letters, digits, context, look)  # (B, T, 10)


def backward(dlogits, cache):
    params, questions, letters, digits, context, look = cache
    dcontext, dW_out, _ = linear_backward(dlogits, context, params["W_out"])
    (dquery, dkey, dvalue, _), dlook = multihead.backward(dcontext, look)
    dmemory = dkey + dvalue  # the memory was both
    dletters = embedding_backward(dquery, params["letters"], questions)
    dletters += embedding_backward(dmemory, params["letters"], letters)  # letters were read on both sides
    ddigits = embedding_backward(dmemory, params["digits"], digits)
    return (None, None, None), {"letters": dletters, "digits": ddigits, "look": dlook, "W_out": dW_out}


recall, M = SimpleNamespace(forward=forward, backward=backward), 32
rng = np.random.default_rng(0)
start = {
    "letters": rng.normal(size=(26, M)),
    "digits": rng.normal(size=(10, M)),
    "look": multihead.init(rng, M=M, H=1),
    "W_out": rng.normal(size=(M, 10)) / np.sqrt(M),
}
flat = optim.Flat(tree.astype(start, np.float32))
for update in range(201):
    letters, digits, questions, answers, lengths = lists(rng, 64)
    inputs, chosen = (questions, letters, digits), {"lengths": lengths}
    loss, dparams = training.gradients(recall, flat.params, inputs, answers, lengths=chosen)
    flat.step(dparams, learning_rate=3e-3, max_norm=1.0)
    if update % 50 == 0:
        print(f"after {update} updates: loss {loss:.3f}")

letters, digits, questions, answers, lengths = lists(np.random.default_rng(1), 1000)
logits, cache = recall.forward(flat.params, questions, letters, digits, lengths=lengths)
print(f"right on 1,000 new lists: {np.mean(logits.argmax(axis=-1) == answers):.1%}")

# %%
names = np.array([chr(ord("a") + i) for i in range(26)])
some = int(np.flatnonzero(lengths == 6)[0])
look = cache[-1].weights[some, 0]  # (T, S)
pairs = [f"{letter}{digit}" for letter, digit in zip(names[letters[some]], digits[some], strict=True)]
asked = [f"{letter}?  {digit}" for letter, digit in zip(names[questions[some]], logits[some].argmax(-1), strict=True)]
figure, ax = plt.subplots(figsize=(6.2, 4.8), layout="constrained")
heatmap(
    look,
    asked,
    pairs,
    ax=ax,
    annot=True,
    mask=np.broadcast_to(np.arange(8) < lengths[some], (8, 8)),
    vmax=1.0,
    title="Each question finds its pair, wherever it stands",
    xlabel="memory: pairs, the last two are padding (key, value)",
    ylabel="question, and the answer given (query)",
)
keep(figure, "08_recall")

# %% [markdown]
# The map is not a diagonal, nor any other fixed shape: it is where the letters happen to stand in this list, and
# another list has another map. Where the same letter is asked again, the row is the same.

# %% [markdown]
# ## Compute
#
# Three steps of one number each, $x = (0, 1, 2)$. They are query, key and value at the same time, so the score of step
# t for step s is $x_t x_s$ (and $\sqrt D = 1$). The causal mask takes out what lies in the future *before* the weights
# are computed; the rest share the whole weight among themselves.
#
# | step | scores | e to that | causal: what is left | weights | context |
# |---|---|---|---|---|---|
# | 0 | 0, 0, 0 | 1, 1, 1 | 1 | 1 | 1 · 0 = 0 |
# | 1 | 0, 1, 2 | 1, 2.718, 7.389 | 1, 2.718 | 0.269, 0.731 | 0.731 · 1 = 0.731 |
# | 2 | 0, 2, 4 | 1, 7.389, 54.598 | 1, 7.389, 54.598 | 0.016, 0.117, 0.867 | 0.117 · 1 + 0.867 · 2 = 1.851 |
#
# The first step has only itself, so its weight is 1. The last one sees all, and for it the mask changes nothing.

# %%
x = np.array([[0.0], [1.0], [2.0]])  # (T, D)
scores = x @ x.T  # (T, T)
shares = np.exp(scores) * np.tri(3)  # (T, T)  0 above the diagonal
weights = shares / shares.sum(axis=1, keepdims=True)  # (T, T)
print(weights)
print("with the mask   ", (weights @ x)[:, 0])

shares = np.exp(scores)
weights = shares / shares.sum(axis=1, keepdims=True)
print("without a mask  ", (weights @ x)[:, 0])

# %% [markdown]
# Padding is a mask of columns instead: were the third step padding, every row would lose its third share, the last row
# too.
#
# *You can go on to lesson 09 from here. What follows says why nothing passes a mask, not even a gradient; what to do
# with a row that may look at nothing; and which tricks look like masks and are not.*

# %% [markdown]
# ## Derive
#
# A mask is a score of $-\infty$. With $m_{ts}$ = True where step t may look at step s,
#
# $$\text{weight}_{ts} = \frac{m_{ts}\, e^{\text{score}_{ts}}}{\sum_j m_{tj}\, e^{\text{score}_{tj}}} \qquad\qquad
#   \text{context}_t = \sum_s \text{weight}_{ts}\, \text{value}_s$$
#
# since $e^{-\infty} = 0$. It stands inside the sum below the line as well. A hidden step takes no weight, and what it
# would have taken goes to the others.
#
# **Backward.** A gradient reaches step s by two ways, through its value and through its score:
#
# $$\text{dvalue}_s = \sum_t \text{weight}_{ts}\; \text{dcontext}_t \qquad\qquad
#   \text{dscore}_{ts} = \text{weight}_{ts} \Big(\text{dweight}_{ts} - \sum_j \text{weight}_{tj}\, \text{dweight}_{tj}\Big)$$
#
# Both are multiplied by the weight. Where it is 0, nothing passes in either direction. That is why the triangle in the
# figure is empty exactly.
#
# **Self-attention** computes $\text{context} = f(x, x, x)$. The chain rule adds up over every place where x was read:
#
# $$dx = \text{dquery} + \text{dkey} + \text{dvalue}$$
#
# **Cross-attention** computes $\text{context} = f(x, \text{memory}, \text{memory})$, with T steps of x and S of the
# memory, so $dx = \text{dquery}$ and $\text{dmemory} = \text{dkey} + \text{dvalue}$. You have seen that line in
# `backward` above.

# %% [markdown]
# ## Equal to the library
#
# The three steps from above, then the gradient. To have something to compare it with, each number of x is moved by
# $ih$, a tiny imaginary step: the imaginary part of the result, divided by $h$, is the slope, without rounding error.
# (Lesson 02 explains why.)

# %%
context, cache = dot.forward({}, x, x, x, mask=causal())
by_hand = np.exp(scores) * np.tri(3)
agree(cache.weights, by_hand / by_hand.sum(axis=1, keepdims=True))
agree(array(causal(), (3, 3), like=x).astype(float), np.tri(3))

rng = np.random.default_rng(0)
x = rng.normal(size=(5, 4))  # (T, D)
dcontext = rng.normal(size=(5, 4))  # (T, E)


def slopes(f, x, dout, h=1e-30):
    dx = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        step = x.astype(complex)
        step[place] += 1j * h
        dx[place] = np.sum(f(step).imag * dout) / h
    return dx


context, cache = dot.forward({}, x, x, x, mask=causal())
(dquery, dkey, dvalue, _), _ = dot.backward(dcontext, cache)
agree(dquery + dkey + dvalue, slopes(lambda x: dot.forward({}, x, x, x, mask=causal())[0], x, dcontext))

memory = rng.normal(size=(7, 4))  # (S, D)
context, cache = dot.forward({}, x, memory, memory)
(dquery, dkey, dvalue, _), _ = dot.backward(dcontext, cache)
agree(dquery, slopes(lambda x: dot.forward({}, x, memory, memory)[0], x, dcontext))
agree(dkey + dvalue, slopes(lambda memory: dot.forward({}, x, memory, memory)[0], memory, dcontext))

# %% [markdown]
# The second test for leaks uses this: ask one step alone for its gradient, and the steps after it must receive exactly
# 0.

# %%
context, cache = dot.forward({}, x, x, x, mask=causal())
for t in range(5):
    alone = np.zeros_like(context)
    alone[t] = 1.0
    (dquery, dkey, dvalue, _), _ = dot.backward(alone, cache)
    dx = dquery + dkey + dvalue  # (T, D)
    print(f"step {t} listens to", *np.flatnonzero(np.any(dx != 0, axis=1)))

# %% [markdown]
# A mask is an array of booleans, or a *rule* such as `causal()` and `padding(lengths)`, which makes any part of that
# array when it is needed. Rules and arrays are joined with `&`: both must allow the look. The rule and the softmax
# under a mask:

# %%
source(Causal.tile, softmax)

# %% [markdown]
# ### A row that may look at nothing
#
# Two sequences in one batch, the second of length 0. All of its scores are $-\infty$, and the formula says 0 / 0. Plain
# NumPy answers NaN, and one NaN in a batch is enough: the loss is NaN, then every gradient. Here the row gives 0, and
# so does its gradient.

# %%
x = rng.normal(size=(2, 3, 4))  # (B, T, D)
context, cache = dot.forward({}, x, x, x, mask=padding([3, 0]))
(dquery, dkey, dvalue, _), _ = dot.backward(np.ones_like(context), cache)
print("context of the empty sequence", np.unique(context[1]))
print("its gradient                 ", np.unique((dquery + dkey + dvalue)[1]))

with np.errstate(invalid="ignore"):
    hidden = np.full(3, -np.inf)
    shares = np.exp(hidden - hidden.max())
    print("without care                 ", shares / shares.sum())

# %% [markdown]
# The same holds for what stands in the padding. A weight of 0 is no protection from NaN, as 0 · NaN is NaN, so the
# library clears what nobody may see before it computes anything.

# %%
dirty = x.copy()
dirty[0, 2] = np.nan
clean, _ = dot.forward({}, x, x, x, mask=padding([2, 3]))
context, _ = dot.forward({}, x, dirty, dirty, mask=padding([2, 3]))
agree(context, clean)

# %% [markdown]
# ### A large negative number is not a mask
#
# Much code adds $-10^9$ to the scores instead. In a row that may look at something, that does the same. In a row that
# may look at nothing, it does not: softmax sees only differences, and all scores have been lowered alike. In single
# precision the result is not even the softmax of the old scores. Near $10^9$ those numbers lie 64 apart, and every
# score is rounded away:

# %%
scores = np.array([1.0, 3.0, 5.0], dtype=np.float32)
print("what may not be seen      ", softmax(scores))
print("hidden by -1e9, float32   ", softmax(scores + np.float32(-1e9)))
print("hidden by -1e9, float64   ", softmax(scores.astype(np.float64) - 1e9))
print("masked                    ", softmax(scores, np.zeros(3, dtype=bool)))
print("float32 near 1e9 is as coarse as", np.spacing(np.float32(1e9)))

# %% [markdown]
# A row that should be empty becomes a plain average of the padding, without a warning. And the trick relies on scores
# of the usual size. In half precision $-10^9$ does not exist, as the largest number is 65,504, and some code takes
# $-10^4$. A score that is lower than that turns the mask round:

# %%
seen, secret = -2e4, 3.0  # the only step that may be seen has a very low score
print("-1e4 added:", softmax(np.array([seen, secret - 1e4])))
print("masked:    ", softmax(np.array([seen, secret]), np.array([True, False])))

# %% [markdown]
# ### True means the opposite elsewhere
#
# PyTorch has two conventions. Its function `scaled_dot_product_attention` takes a boolean mask as it is done here, True
# = may look. Its module `nn.MultiheadAttention` takes `attn_mask` and `key_padding_mask` with True = may *not* look.
# This file needs PyTorch, and shows that all three agree when each is told the same thing in its own way:

# %%
print(data("08_masks_torch.py"))

# %% [markdown]
# A mask that is the wrong way round has the right shape and the right type. The curve "upside down" at the top of this
# lesson is the model of somebody who mixed the two up. There was no error and no NaN, and its loss is excellent.

# %% [markdown]
# ## A surprise
#
# It seems to be the same whether one masks before the softmax or sets the weights to 0 after it. The weights on the
# future are exactly 0 both ways. Is the future hidden?
#
# **Predict.** Self-attention over four steps, and the weights on the future are set to 0 *after* the softmax. Then
# another last step takes the place of the old one. What becomes of the contexts of the three steps before it?
#
# - a: they move
# - b: nothing, a weight of 0 lets nothing through
# - c: they stay what they are, but a gradient comes through to the last step

# %%
### BEGIN SOLUTION
after_softmax = "a"
### END SOLUTION
check.after_softmax(after_softmax)


# %%
def zeroed(x):
    """Self-attention whose weights on the future are set to 0 after the softmax."""
    _, cache = dot.forward({}, x, x, x)
    weights = cache.weights * np.tri(len(x))  # (T, T)
    return weights, weights @ x


x = rng.normal(size=(4, 8))  # (T, D)
other = x.copy()
other[3] = 2 * rng.normal(size=8)  # another last step

for name, look in (
    ("masked", lambda x: dot.forward({}, x, x, x, mask=causal())[0]),
    ("zeroed", lambda x: zeroed(x)[1]),
):
    change = np.abs(look(x) - look(other)).max(axis=1)  # (T,)
    print(f"{name}: the last step is replaced, and the others move by", change[:3])
print("row sums of the zeroed weights:", zeroed(x)[0].sum(axis=1))

# %% [markdown]
# The future leaks through the sum below the line. It was computed over all steps, so how much is *left* for the past
# tells how loud the future is. The rows no longer sum to 1, which is how to notice it: one look at
# `weights.sum(axis=-1)` finds this mistake, and the test with the changed letter finds it too.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** The mask is one step short: step t sees 0 .. t - 1 and not itself (`causal(offset=-1)`). Does anything
#    leak? What does step 0 return?
# 2. **Predict.** A model has two layers, both with the mask that is off by one. How far into the future does its output
#    see? And how far into the past do two layers see whose window is `window(2, 0)`?
# 3. **By hand.** In *Compute*, let the third step be padding, and let every step see all others that are there. What
#    are the weights of step 2, the padding itself?
# 4. **Change.** Ask the recall model for a letter that is not in the list. What does it answer, and how could attention
#    be given the possibility to answer nothing?
#
# <details><summary>Answers</summary>
#
# 1. Nothing leaks. Step 0 may look at nothing and returns 0. As the letter itself comes in beside the attention, by the
#    residual connection (lesson 11), such a model can learn all the same, and nobody notices.
# 2. Two steps: the second layer looks one step ahead at something that had looked one step ahead. Windows add up in the
#    same way, to 4 steps back.
# 3. Its scores are 0, 2, 4; the third share is gone, and 1 and 7.389 are left: 0.119, 0.881, 0. The padding still asks
#    a question, and gets an answer that nobody reads; to stop that too, give `padding` the `query_lengths`.
# 4. It answers all the same, for many letters with great confidence: weights sum to 1, so there is no way to say "none
#    of these", and the letters whose arrows happen to be nearest win. One way out is a pair that is always in the list
#    and stands for "nothing".
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the weights of scores under a mask. Scores are divided by a temperature, then each row shares one whole
# among what it may see, as a softmax does. True means *may look*. A row that may look at nothing has weights 0. What
# stands in a hidden place must not matter, be it 1e9 or NaN; and scores that may be seen are good scores however low
# they are, all of a row at -4e9 too. `check.masked.hint(1)` is there if you are stuck.


# %%
def masked(scores, mask, temperature):
    """scores (B, T, S), mask (B, T, S) of booleans, temperature > 0, a number -> weights (B, T, S)."""
    ### BEGIN SOLUTION
    allowed = np.where(mask, scores / temperature, -np.inf)  # (B, T, S)
    alive = mask.any(axis=-1, keepdims=True)  # (B, T, 1)
    peak = np.where(alive, allowed.max(axis=-1, keepdims=True), 0)  # (B, T, 1)
    shares = np.exp(allowed - peak)  # (B, T, S)
    return shares / np.where(alive, shares.sum(axis=-1, keepdims=True), 1)
    ### END SOLUTION


# %%
check.masked(masked)

# %% [markdown]
# **Write** the backward of self-attention at a temperature, without projections and without a mask: the one array x is
# query, key and value. Forward is given.


# %%
def self_attention(x, temperature):
    """x (B, T, D), temperature > 0, a number -> context (B, T, D), cache."""
    scores = x @ x.mT / temperature  # (B, T, T)
    shares = np.exp(scores - scores.real.max(axis=-1, keepdims=True))  # (B, T, T)
    weights = shares / shares.sum(axis=-1, keepdims=True)  # (B, T, T)
    context = weights @ x  # (B, T, D)
    return context, (x, temperature, weights)


def self_attention_backward(dcontext, cache):
    """dcontext (B, T, D) -> dx (B, T, D)."""
    x, temperature, weights = cache
    ### BEGIN SOLUTION dx
    dvalue = weights.mT @ dcontext
    dweights = dcontext @ x.mT
    dscaled = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores = dscaled / temperature
    dquery = dscores @ x
    dkey = dscores.mT @ x
    return dquery + dkey + dvalue
    ### END SOLUTION


# %%
check.self_attention_backward(self_attention_backward)

# %% [markdown]
# ## Read
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2.3: the three uses of attention,
#   and the causal mask as $-\infty$ in what enters the softmax.
# - Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, section 3.1: cross-attention before it was called so.
# - Graves, Wayne & Danihelka 2014, *Neural Turing machines*, arXiv:1410.5401, section 4.3: associative recall as a task
#   for memories.
