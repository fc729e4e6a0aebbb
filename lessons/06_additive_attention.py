# %% [markdown]
# # 06 · Additive attention
#
# **You will be able to** score a query against keys with a small network, turn the scores into a context, and go back
# through all of it by hand; and find, with five checks, what is wrong with attention code that raises no error.
#
# *Needs lessons 01 and 02 (for Derive), and 05 for the story. Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn.attention import additive
from minattn.classroom import agree, check, data, keep, source
from minattn.functions import softmax
from minattn.gradcheck import gradcheck
from minattn.masks import padding
from minattn.plots import curves, heatmap

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A reader turns letters into phonemes, the sounds of speech. A recurrent network reads the letters from both sides
# and leaves one vector for each. Another network writes the phonemes, one at a time, and before each one it looks
# back: its state is the **query**, the letters' vectors are the **keys** and the **values**, and a weight for each
# letter says how much of that letter's vector it takes along. Nobody tells it where to look. It is only told the
# right phonemes.
#
# Training such a reader takes minutes, so `lessons/data/make_06_alignment.py` did it beforehand and kept the weights
# for a phrase that was not in the training set, at six moments. Each row is a phoneme about to be written, each
# column a letter; "␣" is the space between words.

# %%
kept = data("06_alignment.json")
chosen = kept["phrases"][0]
film = np.array(chosen["weights"])  # (stops, T, S)
phonemes, letters = [*chosen["phonemes"], "end"], [*chosen["text"], "end"]

figure, axes = plt.subplots(2, 3, figsize=(11, 8), layout="constrained")
for i, (ax, weights, updates) in enumerate(zip(axes.flat, film, kept["stops"], strict=True)):
    heatmap(
        weights,
        phonemes,
        letters,
        ax=ax,
        vmax=1.0,
        cbar=False,
        title=f"{updates} updates",
        xlabel="letter (key)" if i >= 3 else "",
        ylabel="phoneme (query)" if i % 3 == 0 else "",
    )
figure.colorbar(axes[0, 0].images[0], ax=axes, label="weight", aspect=40)
figure.suptitle("An alignment comes into focus: where each phoneme is read from")
keep(figure, "06_film_strip")

# %%
course = kept["course"]
updates = [point["updates"] for point in course]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
curves(
    {"attention": [point["letters"] for point in course]},
    updates,
    ax=left,
    ylim=(0, None),
    title="It looks at fewer and fewer letters",
    xlabel="updates",
    ylabel="letters looked at (e to the entropy)",
)
curves(
    {"wrong phonemes": [point["wrong"] for point in course]},
    updates,
    ax=right,
    percent=True,
    title="while its errors fall",
    xlabel="updates",
    ylabel="wrong phonemes (log scale)",
)
right.set_yscale("log")
right.set_yticks([0.01, 0.1, 1], ["1%", "10%", "100%"])
for ax in (left, right):
    ax.get_legend().remove()
keep(figure, "06_focus")

for stop in kept["stops"]:
    point = course[updates.index(stop)]
    print(f"{stop:5} updates: looks at {point['letters']:4.1f} letters, {point['wrong']:4.0%} of the phonemes wrong")

# %% [markdown]
# Before training every letter gets nearly the same: the answer is the muddy average of lesson 01. Then a diagonal
# grows, here from the start of the phrase to its end, and the blur around it shrinks. Learning is not smooth: near
# update 500 errors shoot up for a moment, and the focus blurs a little at the same time.
#
# (Measured on the first 200 test phrases. "Letters looked at" is $e$ to the entropy of a row: 1 where all the weight
# lies on one letter, S where it is spread evenly over S. Phonemes written too many count as wrong too, so more than
# 100% is possible.)

# %% [markdown]
# ## Compute
#
# What is new against lesson 01 is the score. There it was the dot product of query and key. Here it is a small network
# with one hidden layer, which sees both:
#
# $$\text{score} = v \cdot \tanh(W_{query}\, \text{query} + W_{key}\, \text{key} + b)$$
#
# Its two halves are *added* inside the tanh, hence the name. Let query and keys be single numbers, and let the hidden
# layer have two units: the first computes tanh(query - key + 1), the second tanh(key - query + 1), and v = (2, 2). The
# query is 1:
#
# | | key | value | tanh(2 - key) | tanh(key) | score | e to that | weight |
# |---|---|---|---|---|---|---|---|
# | a | 0 | 10 | 0.964 | 0 | 1.928 | 6.876 | 6.876 / 34.79 = 0.198 |
# | b | 1 | 20 | 0.762 | 0.762 | 3.046 | 21.04 | 21.04 / 34.79 = 0.605 |
# | c | 2 | 60 | 0 | 0.964 | 1.928 | 6.876 | 6.876 / 34.79 = 0.198 |
# | sum | | | | | | 34.79 | 1 |
#
# The context is 0.198 · 10 + 0.605 · 20 + 0.198 · 60 = 25.9. The same in NumPy:

# %%
query = np.array([1.0])  # (N,)
key = np.array([[0.0], [1.0], [2.0]])  # (S, D)
value = np.array([[10.0], [20.0], [60.0]])  # (S, E)
small = {"W_query": np.array([[1.0, -1.0]]), "W_key": np.array([[-1.0, 1.0]]), "b": np.ones(2), "v": np.full(2, 2.0)}

hidden = np.tanh(query @ small["W_query"] + key @ small["W_key"] + small["b"])  # (S, A)
scores = hidden @ small["v"]  # (S,)
weights = np.exp(scores) / np.exp(scores).sum()  # (S,)
print("hidden\n", hidden)
print("scores", scores)
print("weights", weights)
print("context", (weights @ value).round(1))

# %% [markdown]
# The key in the *middle* won, because it is *equal* to the query. One unit falls as the key grows and the other
# rises; where they cross, their sum has a bump. A dot product of two single numbers cannot do that: query · key only
# ever rises or only ever falls with the key, so its favourite is always at an end.

# %%
fine = np.linspace(-3, 5, 200)
figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for asked, dashes in ((0.0, "--"), (1.0, "-"), (3.0, ":")):
    bump = np.tanh(asked * small["W_query"] + fine[:, None] * small["W_key"] + small["b"]) @ small["v"]
    ax.plot(fine, bump, dashes, color="#0072b2", label=f"additive, query {asked:.0f}")
ax.plot(fine, fine, color="#d55e00", label="dot product, query 1")
ax.set(xlabel="key (a single number)", ylabel="score", ylim=(-3, 5))
ax.set_title("Two tanh units make a bump that follows the query")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
keep(figure, "06_bump")

# %% [markdown]
# *You can go on to lesson 07 from here. What follows goes back through the formula, shows that the library computes the
# same, and then takes a faulty sample apart, which is worth the time even if you skip the mathematics.*

# %% [markdown]
# ## Derive
#
# One query, S keys. Vectors are rows, as in the code.
#
# $$\begin{aligned}
#   u_s &= q\, W_{query} + k_s\, W_{key} + b  & h_s &= \tanh u_s  & e_s &= h_s \cdot v \\
#   w_s &= \frac{\exp e_s}{\sum_j \exp e_j}   & c &= \sum_s w_s\, x_s
# \end{aligned}$$
#
# with query $q$, keys $k_s$, values $x_s$, weights $w_s$ and context $c$. The sum in $c$ runs over *time*: whatever the
# number of steps, one vector comes out. Backwards, from $dc$, line by line from the last to the first:
#
# 1. $c$ is a weighted sum: $\;dw_s = dc \cdot x_s\;$ and $\;dx_s = w_s\, dc$.
# 2. The softmax (lesson 02): $\;de_s = w_s \left(dw_s - \sum_j w_j\, dw_j\right)$. They sum to 0: what one step gains,
#    others lose.
# 3. $e_s$ is a dot product: $\;dh_s = de_s\, v\;$ and $\;dv = \sum_s de_s\, h_s$. One $v$ serves every step, so its
#    gradients are added.
# 4. The slope of tanh is $1 - h^2$: $\;du_s = dh_s\, (1 - h_s^2)$.
# 5. $u_s$ is a sum. Each key has its own: $\;dk_s = du_s\, W_{key}^\top$. Query and $b$ were used at every step, so
#    they get the sum $du = \sum_s du_s$: $\;dq = du\, W_{query}^\top\;$ and $\;db = du$.
# 6. The matrices: $\;dW_{query} = q^\top du\;$ and $\;dW_{key} = \sum_s k_s^\top du_s$.

# %%


def forward(params, query, key, value):
    """query (N,), key (S, D), value (S, E) -> context (E,)"""
    hidden = np.tanh(query @ params["W_query"] + key @ params["W_key"] + params["b"])  # (S, A)
    scores = hidden @ params["v"]  # (S,)
    weights = np.exp(scores - scores.max())  # (S,)  less the largest: changes nothing, cannot overflow
    weights = weights / weights.sum()  # (S,)
    return weights @ value, (params, query, key, value, hidden, weights)


def backward(dcontext, cache):
    params, query, key, value, hidden, weights = cache
    dweights, dvalue = value @ dcontext, np.outer(weights, dcontext)  # 1
    dscores = weights * (dweights - weights @ dweights)  # 2
    dhidden, dv = np.outer(dscores, params["v"]), dscores @ hidden  # 3
    deach = dhidden * (1 - hidden**2)  # 4
    dsum = deach.sum(axis=0)  # over the steps
    dinputs = dsum @ params["W_query"].T, deach @ params["W_key"].T, dvalue  # 5
    return dinputs, {"W_query": np.outer(query, dsum), "W_key": key.T @ deach, "b": dsum, "v": dv}  # 5, 6


# %% [markdown]
# ## Equal to the library
#
# The library takes T queries at once, and any number of sequences. Here is one of each, with random numbers:

# %%
rng = np.random.default_rng(6)
N, D, E, A, S = 4, 5, 3, 6, 7
query, key, value, dcontext = (rng.normal(size=shape) for shape in (N, (S, D), (S, E), E))
params = additive.init(rng, N=N, D=D, A=A)

context, mine = forward(params, query, key, value)
theirs, cache = additive.forward(params, query[None], key, value)  # T = 1
agree(context, theirs[0])

(dquery, dkey, dvalue), dparams = backward(dcontext, mine)
(dquery_lib, dkey_lib, dvalue_lib, _), dparams_lib = additive.backward(dcontext[None], cache)
agree({"query": dquery, "key": dkey, "value": dvalue}, {"query": dquery_lib[0], "key": dkey_lib, "value": dvalue_lib})
agree(dparams, dparams_lib)

# %% [markdown]
# Two programs by one author may share a mistake. The gradient checker knows nothing of either: it measures the slope of
# forward, for every element of every array. Two sequences with padding this time:

# %%
batch = rng.normal(size=(2, 3, N)), rng.normal(size=(2, S, D)), rng.normal(size=(2, S, E))
report = gradcheck(additive, inputs=batch, params=params, options={"mask": padding([7, 4])})
for row in report.rows:
    print(f"d{row.name:8} {row.shape!s:10} {'right' if row.error <= 1e-12 else 'WRONG'}")
assert report.error <= 1e-12

# %% [markdown]
# The library does it in two halves. The keys are projected once (`prepare`), then each query asks (`attend`): a writer
# asks the same keys at every step, and would otherwise project them anew each time.

# %%
source(additive.prepare, additive.attend, additive.attend_backward)

# %% [markdown]
# ## A surprise
#
# The tanh looks like a detail. Leave it out: the score is then $v \cdot (q W_{query} + k_s W_{key} + b)$. Ask three
# very different queries.

# %%
for asked in (query, -5 * query, rng.normal(size=N)):
    scores = (asked @ params["W_query"] + key @ params["W_key"] + params["b"]) @ params["v"]  # (S,)
    print(softmax(scores))

# %% [markdown]
# Three times the same weights: without the tanh the query is not heard at all. Its part of the score, $v \cdot (q
# W_{query})$, is the same number for every key, and the softmax takes out whatever is the same for all. What depends
# on query *and* key has to come from the bend of the tanh. A score that multiplies, as the dot product does, has that
# built in.

# %% [markdown]
# ## An article's sample
#
# A widely read article explains additive attention in prose and adds a sample for a deep learning library. Its score
# is a dense layer of `units` with tanh, and then a dense layer of `units` again; a softmax over the last axis
# follows; and the weights times the values are called the context. Here is what that does, in NumPy:

# %%


def hidden_layer(params, query, key):
    """query (B, N), key (B, S, D) -> (B, S, A)"""
    return np.tanh(query[:, None] @ params["W_query"] + key @ params["W_key"] + params["b"])


def article(params, query, key, value, real=None):
    """As the article has it; real (B, S), True = no padding, is what it has no use for."""
    scores = hidden_layer(params, query, key) @ params["W_score"]  # (B, S, units)
    weights = softmax(scores)  # (B, S, units)
    return weights * value, weights


def library(params, query, key, value, real=None):
    mask = None if real is None else real[:, None]  # (B, 1, S)  to (B, T, S)
    own = {name: params[name] for name in ("W_query", "W_key", "b", "v")}
    context, cache = additive.forward(own, query[:, None], key, value, mask=mask)
    return context[:, 0], cache.weights[:, 0]


def numbers(units, E, B=2, S=5, seed=0):
    rng = np.random.default_rng(seed)
    params = additive.init(rng, N=4, D=6, A=units)
    params["W_score"] = rng.normal(size=(units, units)) / np.sqrt(units)
    return params, rng.normal(size=(B, 4)), rng.normal(size=(B, S, 6)), rng.normal(size=(B, S, E))


try:
    article(*numbers(units=10, E=8))
except ValueError as error:
    print("units=10, values of width 8:", f"{type(error).__name__}: {error}".strip())

out, weights = article(*numbers(units=8, E=8))
print("units=8,  values of width 8: a context of shape", out.shape)

# %% [markdown]
# With sizes that differ, as they do in the article, it stops with an error, which is the lucky case. With equal sizes
# it runs, gradients flow, and a model around it may even learn something. What is wrong? Write down what must hold
# whatever the parameters are, and ask. A query looks at S steps and takes an average, so:
#
# 1. the context is **one vector** for each query, without a time axis;
# 2. there is **one weight** for each step, and the weights **sum to 1 over time**;
# 3. the steps are a set: **in another order**, keys and values together, they give the same context;
# 4. a source said **twice over** gives the same context, as an average does and a sum does not;
# 5. **padding** must not matter: longer rows of rubbish behind the end, and a mask, change nothing.

# %%


def checks(model, params, query, key, value):
    """-> each check, and whether the model passes it."""
    B, S, E = value.shape
    out, weights = model(params, query, key, value)

    def same(key, value, real=None):
        other, _ = model(params, query, key, value, real)
        return other.shape == out.shape and np.allclose(other, out, rtol=0, atol=1e-9)

    rng = np.random.default_rng(1)
    order = rng.permutation(S)
    longer = [np.concatenate([x, 9 * rng.normal(size=(B, 2, x.shape[-1]))], axis=1) for x in (key, value)]
    real = np.tile(np.arange(S + 2) < S, (B, 1))  # (B, S + 2)
    return {
        "1 one vector": out.shape == (B, E),
        "2 one weight for each step": weights.shape == (B, S),
        "  weights sum to 1 over time": np.allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-9),
        "3 the order does not matter": same(key[:, order], value[:, order]),
        "4 said twice, the same": same(np.tile(key, (1, 2, 1)), np.tile(value, (1, 2, 1))),
        "5 padding does not matter": same(*longer, real),
    }


def table(*models):
    results = [checks(model, *numbers(units=8, E=8)) for model in models]
    print(" " * 30 + "".join(f"{model.__name__:>12}" for model in models))
    for question in results[0]:
        print(f"{question:30}" + "".join(f"{'ok' if result[question] else 'FAILS':>12}" for result in results))


table(article, library)

# %% [markdown]
# The sample fails every check. Its faults hide behind each other, so mend them one at a time: the missing sum over
# time; the softmax, which ran over the 8 channels of a step instead of over the steps; the second dense layer, which
# should have a single output; and the mask.

# %%


def summed(params, query, key, value, real=None):
    channels, weights = article(params, query, key, value)
    return channels.sum(axis=1), weights  # (B, E)


def over_time(params, query, key, value, real=None):
    scores = hidden_layer(params, query, key) @ params["W_score"]  # (B, S, units)
    weights = softmax(scores.mT).mT  # (B, S, units)  the softmax runs over S
    return (weights * value).sum(axis=1), weights


def one_number(params, query, key, value, real=None):
    scores = hidden_layer(params, query, key) @ params["v"]  # (B, S)
    weights = softmax(scores)  # (B, S)
    return (weights[:, :, None] * value).sum(axis=1), weights


def masked(params, query, key, value, real=None):
    scores = hidden_layer(params, query, key) @ params["v"]  # (B, S)
    weights = softmax(scores, real)  # (B, S)  0 where there is padding
    return (weights[:, :, None] * value).sum(axis=1), weights


table(article, summed, over_time, one_number, masked)
agree(masked(*numbers(8, 8))[0], library(*numbers(8, 8))[0])

# %% [markdown]
# Each mend passes one check more, or two, and no check alone would have been enough: the shape is right after the
# first mend already. (*over_time* is not nonsense: a weight for every channel and step, normalised over time, was
# proposed on its own account by Shen et al. 2017. But it is another mechanism, and its values have to be as wide as
# the score layer.)
#
# The difference is easy to see when the weights are drawn with the steps from left to right. The source is five steps
# long:

# %%
inputs = numbers(units=8, E=8)
_, given = article(*inputs)
_, right = masked(*inputs)
figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5.4), height_ratios=[5, 1], layout="constrained")
steps = [f"step {s}" for s in range(5)]
heatmap(
    given[0].T,
    [f"channel {i}" for i in range(8)],
    steps,
    ax=top,
    annot=True,
    vmax=1.0,
    cbar=False,
    title="The article's sample: each column sums to 1, no row does",
    xlabel="",
    ylabel="",
)
heatmap(
    right[:1],
    ["weight"],
    steps,
    ax=bottom,
    annot=True,
    vmax=1.0,
    cbar=False,
    title="Attention: one row, which sums to 1",
    xlabel="step of the source (key)",
    ylabel="",
)
keep(figure, "06_article")
print("article, sums over time:", given[0].sum(axis=0))
print("attention, sum over time:", right[0].sum().round(12))

# %% [markdown]
# In a column everything is decided before any other step is seen: no step can take weight from another. That is not
# attention, whatever the variables are called. No gradient check would have found it, either: that compares backward
# with forward, and here it is forward that is wrong. Such faults are found by saying what must hold, and asking.
#
# ### The correct form in PyTorch
#
# This file stands in `lessons/data`. Run it where PyTorch is installed: it copies parameters from `additive` into the
# module, and asserts that the context and every gradient are equal to 1e-9.

# %%
print(data("06_additive_torch.py"))

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** v starts as zeros. What is the context? Which parameters get a gradient in the first update?
# 2. **By hand.** With the numbers of *Compute*, where does the weight go for the query 2? What is the context?
# 3. **Mend.** A colleague has one score for each step, but keeps the last axis: `scores` is (B, S, 1), and
#    `weights = softmax(scores)`. It raises no error. What are the weights, and which of the checks fail?
# 4. **Predict.** A learned number is added to *every* score. What is its gradient?
# 5. **Change.** Set b to 0 in *Compute*. Where does the bump go, and why? (tanh(-x) = -tanh(x).)
#
# <details><summary>Answers</summary>
#
# 1. All scores are 0, so all weights are equal, and the context is the average of the values. v gets a gradient, since
#    the hidden layer is not 0; W_query, W_key and b get none, since dhidden = dscores · v is 0. They wait until v has
#    moved. If the hidden layer were 0 as well, nothing would ever move.
# 2. To key 2, which is equal to the query. The scores are 0.47, 1.93, 3.05 and the weights 0.05, 0.23, 0.71: a context
#    of about 48.
# 3. A softmax over an axis of length 1: every weight is 1, and the context is the sum of the values, whatever was
#    asked. Both parts of check 2 fail (the shape is not (B, S), the sum over time is S, not 1), so does 4 (*said
#    twice* doubles the context), and so does 5 (padding is added in); 1 and 3 pass: the shape of the context is
#    right, and the order does not matter to a sum. Take the last axis away first: `scores[..., 0]`.
# 4. 0: the softmax takes out what is the same for all steps. In Derive, its gradient is the sum of de over the steps.
# 5. It is gone: with b = 0 the two units are tanh(q - k) and tanh(k - q) = -tanh(q - k), and with equal v they cancel.
#    All scores are 0. The bump needs the two slopes to be shifted apart, which b does.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the backward of additive scores whose query and keys go through the *same* matrix. There are B sequences,
# each with one query and S keys; forward is given. `check.shared_additive_backward.hint(1)` is there if you are stuck.


# %%
def shared_additive(query, key, W, b, v):
    """query (B, D), key (B, S, D), W (D, A), b (A,), v (A,) -> scores (B, S), cache."""
    hidden = np.tanh(query[:, None] @ W + key @ W + b)  # (B, S, A)
    scores = hidden @ v  # (B, S)
    return scores, (query, key, W, v, hidden)


def shared_additive_backward(dscores, cache):
    """dscores (B, S) -> dquery (B, D), dkey (B, S, D), dW (D, A), db (A,), dv (A,)."""
    query, key, W, v, hidden = cache
    ### BEGIN SOLUTION dquery, dkey, dW, db, dv
    dhidden = dscores[..., None] * v
    dv = np.einsum("bs,bsa->a", dscores, hidden)
    dinside = dhidden * (1 - hidden**2)
    dasked = dinside.sum(axis=1)  # one query was asked of all S keys
    dquery, dkey = dasked @ W.T, dinside @ W.T
    dW = query.T @ dasked + np.einsum("bsd,bsa->da", key, dinside)
    db = dasked.sum(axis=0)
    return dquery, dkey, dW, db, dv
    ### END SOLUTION


# %%
check.shared_additive_backward(shared_additive_backward)

# %% [markdown]
# ## Read
#
# - Bahdanau, Cho & Bengio 2015, *Neural machine translation by jointly learning to align and translate*,
#   arXiv:1409.0473: section 3.1 for the decoder that looks back, A.1.2 for the score (there without b), figure 3 for
#   alignments between French and English (not reproduced here).
# - Luong, Pham & Manning 2015, *Effective approaches to attention-based neural machine translation*, arXiv:1508.04025,
#   section 3.1: other scores beside it. Lesson 07.
# - Shen et al. 2017, *DiSAN: directional self-attention network for RNN/CNN-free language understanding*,
#   arXiv:1709.04696: a weight for every channel, normalised over time.
