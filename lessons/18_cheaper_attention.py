# %% [markdown]
# # 18 · Cheaper attention
#
# **You will be able to** compute a softmax from pieces that are never all there at once; say what tiles, windows and
# linear attention save, and what each of them costs; and tell a cheaper way to the same answer from another answer.
#
# *Needs lessons 07 and 08. Thirty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from minattn import masks
from minattn.attention import blockwise, dot, fused, linear, window
from minattn.classroom import agree, check, data, keep, source
from minattn.data import spoken
from minattn.functions import elu, softmax
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Attention compares every query with every key: T steps make T · T scores. For a word of 20 letters that is nothing.
# For a book of 100,000 words it is ten thousand million numbers, 40 gigabytes in single precision, for one head of one
# layer.
#
# Here is one recording of a spoken digit (lesson 17), 74 frames, a new one every 20 ms, and every frame looks at every
# frame. The three other panels show ways to have less in memory at once.

# %%
clips = spoken.load()
placed = spoken.place(clips, [237], np.random.default_rng(3), snr=(15, 15))
frames = spoken.log_mel(placed.sounds)[0]  # (T, D) = (74, 32)
frames = (frames - frames.mean(axis=0)) / frames.std(axis=0)
T, D = frames.shape
reach, tile = 8, 16

_, whole = dot.forward({}, frames, frames, frames)
_, near = window.forward({}, frames, frames, frames, left=reach, right=reach)
_, kernel = linear.forward({}, frames, frames, frames)
band = masks.array(masks.window(reach, reach), (T, T), like=frames)

figure, axes = plt.subplots(1, 4, figsize=(13, 4.4), layout="constrained")
shown = {
    "all scores at once\n(dot)": (whole.weights, T * T),
    "one tile after the other\n(blockwise)": (whole.weights, tile * tile),
    "near keys alone\n(window)": (np.where(band, near.weights, np.nan), band.sum()),
    "no scores: a summary of the keys\n(linear)": (kernel.weights, D * (D + 1)),
}
for ax, (title, (weights, numbers)) in zip(axes, shown.items(), strict=True):
    ax.imshow(weights, cmap="cividis", vmin=0, vmax=0.15)
    ax.set(title=f"{title}\n{numbers:,} numbers", xlabel="key (frame)")
axes[0].set_ylabel("query (frame)")
axes[1].add_patch(Rectangle((-0.5, -0.5), T, T, color="white", alpha=0.75, linewidth=0))
axes[1].imshow(
    whole.weights[48:64, 48:64], extent=(47.5, 63.5, 63.5, 47.5), cmap="cividis", vmin=0, vmax=0.15, zorder=2
)
for line in range(tile, T, tile):
    axes[1].axhline(line - 0.5, color="#888888", linewidth=0.8)
    axes[1].axvline(line - 0.5, color="#888888", linewidth=0.8)
axes[1].set(xlim=(-0.5, T - 0.5), ylim=(T - 0.5, -0.5))
figure.suptitle("What has to be in memory at once, for 74 frames of sound; bright: much weight", fontsize=12)
keep(figure, "18_at_once")

# %% [markdown]
# **Predict.** Which of the three ways on the right give exactly the answer of the first one, up to rounding?
#
# - a: none, what costs less is an approximation
# - b: the tiles alone
# - c: the tiles and the summary, since in both every query hears of every key

# %%
### BEGIN SOLUTION
which_is_exact = "b"
### END SOLUTION
check.which_is_exact(which_is_exact)

# %% [markdown]
# - **Tiles.** The map is the same, but only one square of it exists at any moment. Its part of the answer is added up,
#   and the square is forgotten. The answer is the same too.
# - **A window.** Every query looks at a few neighbours. The rest of the map is never computed. This is *another*
#   answer, good where what matters is near.
# - **Linear attention.** No map at all: the keys and values are summed once into a small table, and every query reads
#   from that. The panel shows the weights that it would have had. They are flatter: another answer again.

# %% [markdown]
# ## Compute
#
# How can a softmax be computed from tiles? Its denominator needs all scores, and so does the largest score that is
# subtracted to keep $e^{\text{score}}$ from overflowing. Three tokens in two tiles, the first two tokens and then the
# third, with scores 0, 1, 2 and values 10, 20, 30. Carry three numbers: the **peak** (the largest score so far), the
# **total** (the sum of $e^{\text{score} - \text{peak}}$) and the **context** (the same sum, each term times its value).
#
# | | peak | total | context |
# |---|---|---|---|
# | tile 1: scores 0, 1 | 1 | e⁻¹ + e⁰ = 0.368 + 1 = 1.368 | 0.368 · 10 + 1 · 20 = 23.68 |
# | a larger score came: rescale by e^(1 - 2) = 0.368 | 2 | 1.368 · 0.368 = 0.503 | 23.68 · 0.368 = 8.71 |
# | tile 2: score 2 | 2 | 0.503 + e⁰ = 1.503 | 8.71 + 1 · 30 = 38.71 |
# | divide | | | 38.71 / 1.503 = **25.75** |
#
# The softmax in one piece: weights 0.090, 0.245, 0.665, answer 0.9 + 4.9 + 19.95 = 25.75. This is the **online
# softmax**: online means that the scores come one after the other and none has to be kept. In NumPy:

# %%
scores, values = np.array([0.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0])

peak, total, context = -np.inf, 0.0, 0.0
for some in (slice(0, 2), slice(2, 3)):
    higher = max(peak, scores[some].max())
    rescale = np.exp(peak - higher)  # 0 for the first tile
    exponentials = np.exp(scores[some] - higher)
    total = total * rescale + exponentials.sum()
    context = context * rescale + exponentials @ values[some]
    peak = higher
    print(f"peak {peak:.0f}   total {total:.3f}   context {context:.2f}")

print("answer", round(context / total, 2), "   in one piece", (softmax(scores) @ values).round(2))
agree(context / total, softmax(scores) @ values)

# %% [markdown]
# *You can go on from here. What follows derives the three ways, shows that each equals its exact twin, and measures
# them.*

# %% [markdown]
# ## Derive
#
# **Tiles.** Write $m$ for the peak of the scores $s_j$ seen so far, and keep
#
# $$\text{total} = \sum_j e^{s_j - m} \qquad\qquad \text{context} = \sum_j e^{s_j - m} \; \text{value}_j$$
#
# When the peak rises to $m'$, every term has to change from $e^{s_j - m}$ to $e^{s_j - m'}$. That is the same factor
# for all of them, $e^{m - m'}$, so the sums can be corrected without the terms:
#
# $$\sum_j e^{s_j - m'} = e^{m - m'} \sum_j e^{s_j - m}$$
#
# At the end the peak cancels in context / total, as it does in every softmax. Nothing has been approximated.
#
# *Backward* needs the weights, which were forgotten. It keeps one number for each query,
# $\text{log total} = m + \ln \text{total}$, and makes each tile again: $\text{weight}_j = e^{s_j - \text{log total}}$.
# The softmax's backward (lesson 07) also needs a sum over a whole row, and that one can be had without a row:
#
# $$\text{dscore}_j = \text{weight}_j \, (\text{dweight}_j - r) \qquad
#   r = \sum_j \text{dweight}_j \; \text{weight}_j = \sum_j (\text{dcontext} \cdot \text{value}_j) \; \text{weight}_j
#     = \text{dcontext} \cdot \text{context}$$
#
# **A window.** Let the query at t look at the keys from t - left to t + right. That is a mask, and nothing else is
# new; what is cheaper is not to compute what the mask would hide. T queries times (left + right + 1) keys instead of
# T times T.
#
# **Linear attention.** The softmax compares by $e^{\text{query} \cdot \text{key}}$, which has to be computed for every
# pair. Put a product of *features* in its place, $\phi(\text{query}) \cdot \phi(\text{key})$ with
# $\phi(x) = \text{elu}(x) + 1$, which is $x + 1$ above 0 and $e^x$ below, so never negative:
#
# $$\text{context}_t
#   = \frac{\sum_s (\phi(q_t) \cdot \phi(k_s)) \, v_s}{\sum_s \phi(q_t) \cdot \phi(k_s)}
#   = \frac{\phi(q_t)^\top \left[ \sum_s \phi(k_s) \, v_s^\top \right]}{\phi(q_t)^\top \left[ \sum_s \phi(k_s) \right]}$$
#
# The brackets do not depend on t. They are computed once, a **state** of D × E numbers and a **total** of D, whatever
# the number of keys. The whole trick is where the parentheses stand: $(Q K^\top) V$ makes T × T numbers,
# $Q (K^\top V)$ makes D × E. The softmax forbids to move them, because the exponential is taken between the products.
#
# With a causal mask the brackets run up to s = t. Then the state is that of a recurrent network: each step adds
# $\phi(k_t) v_t^\top$ to it and asks it with $\phi(q_t)$.

# %% [markdown]
# ## Equal to the library
#
# Each way against its exact twin, forward and backward. First tiles, in two forms: `blockwise` is the derivation
# above, `fused` is what the models of this library run.

# %%
rng = np.random.default_rng(0)
T, D, E = 50, 8, 6
query, key, value = rng.normal(size=(T, D)), rng.normal(size=(T, D)), rng.normal(size=(T, E))
dcontext = rng.normal(size=(T, E))

context, cache = dot.forward({}, query, key, value)
gradients, _ = dot.backward(dcontext, cache)
for tiled, options in ((blockwise, {"tile": 16}), (fused, {"tile": 256, "keep": False})):
    again, kept = tiled.forward({}, query, key, value, **options)
    agree(again, context)
    agree(tiled.backward(dcontext, kept)[0], gradients)

# %% [markdown]
# A window against `dot` under the mask `window`:

# %%
context, cache = dot.forward({}, query, key, value, mask=masks.window(5, 2))
again, kept = window.forward({}, query, key, value, left=5, right=2, tile=16)
agree(again, context)
agree(window.backward(dcontext, kept)[0], dot.backward(dcontext, cache)[0])

# %% [markdown]
# Linear attention against its formula in plain loops (`linear.naive`), against the formula with moved parentheses, and,
# with a causal mask, against a recurrence that sees one step at a time:


# %%
def phi(x):
    return elu(x) + 1


agree(linear.forward({}, query, key, value)[0], linear.naive({}, query, key, value))

state, total = phi(key).T @ value, phi(key).sum(axis=0)  # (D, E), (D,)
agree(linear.forward({}, query, key, value)[0], phi(query) @ state / (phi(query) @ total)[:, None])

state, total, steps = np.zeros((D, E)), np.zeros(D), []
for q, k, v in zip(phi(query), phi(key), value, strict=True):
    state, total = state + np.outer(k, v), total + k
    steps.append(q @ state / (q @ total))
agree(linear.forward({}, query, key, value, mask=masks.causal(), tile=16)[0], np.stack(steps))

# %% [markdown]
# The library's forward of the tiled attention; `peak`, `total`, `context` are those of *Compute*, for many queries at
# once. Rows in which nobody may look have the peak -inf; `base` and the last lines keep them at 0.

# %%
source(blockwise.forward)

# %% [markdown]
# ## What it costs
#
# Time and memory of forward and backward, measured by `lessons/data/make_18_cost.py`: one head of width 64, single
# precision, one thread. Time is that of the processor; memory is what was asked for beyond the inputs at the peak.
# Both axes are logarithmic: on such paper a cost that grows with T is a line of slope 1, and one that grows with T² a
# line of slope 2.

# %%
cost = data("18_cost.json")
steps = np.array(cost["steps"])
print(f"measured with NumPy {cost['numpy']} on {cost['processor']}; the window reaches {cost['reach']} to either side")

figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), layout="constrained")
for ax, what, unit, label in (
    (axes[0], "milliseconds", 1, "time (ms)"),
    (axes[1], "bytes", 2**20, "memory at the peak (MiB)"),
):
    least, most = min(map(min, cost[what].values())) / unit, max(map(max, cost[what].values())) / unit
    for slope in (1, 2):
        ax.loglog(steps, least / 8 * (steps / steps[0]) ** slope, color="#bbbbbb", linestyle=":", linewidth=1.5)
        place = steps[5], least / 8 * (steps[5] / steps[0]) ** slope
        ax.annotate(
            f"slope {slope}", place, (-46, 6) if slope == 2 else (8, -8), textcoords="offset points", color="#666666"
        )
    for i, (name, numbers) in enumerate(cost[what].items()):
        numbers = np.array(numbers) / unit
        style = {"color": COLOURS[i], "marker": "os^Dv"[i], "linestyle": ["-", "--", "-.", "-", "--"][i]}
        ax.loglog(steps[: len(numbers)], numbers, label=name, **style)
    ax.set(xlabel="steps T", ylabel=label, ylim=(least / 16, 2 * most))
    ax.set_xticks(steps, [f"{T:,}" for T in steps], rotation=30)
    ax.minorticks_off()
axes[0].legend(title="mechanism")
figure.suptitle("Tiles save memory; windows and linear attention save time")
keep(figure, "18_cost")


# %%
def at(T, what, name):
    return cost[what][name][cost["steps"].index(T)]


for T in (2048, 8192):
    time = {name: at(T, "milliseconds", name) / at(T, "milliseconds", "dot") for name in cost["milliseconds"]}
    room = {name: at(T, "bytes", name) / at(T, "bytes", "dot") for name in cost["bytes"]}
    print(f"T = {T:,}, in shares of dot:")
    for name in time:
        print(f"    {name:10} time {time[name]:6.2f}   memory {room[name]:6.3f}")

# %% [markdown]
# Left, time: `dot`, `blockwise` and `fused` climb with a slope of about 2 (the last step of `dot` is steeper, see *A
# surprise*), `window` and `linear` of about 1. Right, memory: only `dot` climbs with a slope of 2. At 8,192 steps it
# holds four arrays of 8,192 × 8,192 numbers, a gigabyte, and for 16,384 it was not asked. The tiles stay at slope 1,
# and for long sequences they need even less than window and linear attention, which keep what backward will need for
# every tile. For short sequences, where everything fits anyway, nothing is saved by any of them.

# %% [markdown]
# ## A surprise
#
# At 8,192 steps `blockwise` takes less than half the time of `dot`. So it multiplies less? Let arrays count it: an
# array that knows how many multiplications its matrix products have taken.


# %%
class Counting(np.ndarray):
    """An array whose matrix products are counted."""

    products = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [np.asarray(x) if isinstance(x, Counting) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*inputs, **options)
        if ufunc is np.matmul:
            Counting.products += result.size * inputs[0].shape[-1]
        return result.view(Counting) if out is None else out[0]


rng = np.random.default_rng(1)
T, D = 1024, 16
inputs = [rng.normal(size=(T, D)).view(Counting) for _ in range(3)]
for name, mechanism in {"dot": dot, "blockwise": blockwise}.items():
    Counting.products = 0
    context, cache = mechanism.forward({}, *inputs)
    forward, Counting.products = Counting.products, 0
    mechanism.backward(np.ones((T, D)).view(Counting), cache)
    print(f"{name:10} forward {forward / (T * T * D):.0f} T T D   backward {Counting.products / (T * T * D):.0f} T T D")

# %% [markdown]
# It does not. Forward multiplies exactly as much, and backward *more*, since it makes the weights a second time: five
# products in the place of four. What it saves is memory that has to be fetched, written and read again. Look at the
# left figure once more: up to 4,096 steps the two take nearly the same time. At 8,192 each array of scores has 256
# MB, more than the library keeps at hand, and the system has to find and clear the memory for each of them anew; when
# it was allowed to keep them, in a trial beside this lesson, `dot` was as fast as `blockwise` again. On a graphics
# card memory decides far earlier: its processors compute much faster than its large memory delivers, and a tile fits
# into the small one beside them. The paper that made tiles famous says so in its title, IO-aware, and reports several
# times the speed (not reproduced here).
#
# Second: linear attention is easily taken for a cheap approximation of the softmax. How near is it?

# %%
context, _ = dot.forward({}, frames, frames, frames)
another, _ = linear.forward({}, frames, frames, frames)
difference = np.sqrt(((another - context) ** 2).mean() / (context**2).mean())
print(f"on the frames of sound, the difference is {difference:.1f} times as large as the context itself")

# %% [markdown]
# It is another model. Here is what that means for looking something up: 64 keys, and each query is one of them,
# exactly. Make the queries longer, as in lesson 01, and see how much weight the right key gets:

# %%
keys = np.random.default_rng(2).normal(size=(64, 32))  # (S, D)
factors = np.geomspace(0.25, 8, 11)
found = {"softmax": [], "linear": []}
for factor in factors:
    for name, mechanism in (("softmax", dot), ("linear", linear)):
        _, cache = mechanism.forward({}, factor * keys, keys, keys)
        found[name].append(np.diagonal(cache.weights).mean())
for name, weights in found.items():
    print(f"{name:8} weight of the right key, from {weights[0]:.2f} to {weights[-1]:.2f}")

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for i, (name, weights) in enumerate(found.items()):
    ax.semilogx(factors, weights, color=COLOURS[i], marker="os"[i], linestyle=["-", "--"][i], label=name)
ax.axhline(1 / 64, color=COLOURS[6], linestyle=":", label="all keys alike (1/64)")
ax.set(xlabel="the queries are multiplied by", ylabel="weight of the right key", ylim=(0, 1.03))
ax.set(title="Sharp queries find their key by softmax, never by linear attention")
ax.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
ax.minorticks_off()
ax.legend()
keep(figure, "18_sharpness")

# %% [markdown]
# Multiplied by a large number, $\phi(q)$ is hardly more than that number times the positive part of q, and the
# division by the total takes the number out again. The weights stop changing. A state of D × E numbers holds a
# summary of all keys, and one key cannot be read out of it alone. A network can learn to live with that, but not by
# taking over the weights of one that was trained with the softmax.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** Do *Compute* with the tiles in the other order: the score 2 first, then 0 and 1. How often is
#    something rescaled?
# 2. **Predict.** Which of the three would you choose for (a) a chat of 4,000 words on a small card, with a model that
#    is already trained; (b) a sound of an hour, where only near moments matter; (c) a stream without an end?
# 3. **Predict.** A Transformer of 6 layers has a window of 64 to the left in each. How far back can its last output
#    see?
# 4. **Mend.** Somebody writes the online softmax without `rescale` for the context, only for the total. For which order
#    of scores is the result right all the same?
#
# <details><summary>Answers</summary>
#
# 1. First peak 2, total 1, context 30. The second tile has no higher score: the factor is e^0 = 1, nothing is rescaled.
#    Then total 1 + e^-1 + e^-2 = 1.503, context 30 + 0.368 · 20 + 0.135 · 10 = 38.71. The answer is the same.
# 2. (a) Tiles: the same answer, so the trained model does not notice. (b) A window. (c) Linear attention, whose state
#    does not grow; or a window, which forgets.
# 3. 6 · 64 = 384 steps: what each layer sees has itself seen 64 steps further. So has the last output, through all
#    layers.
# 4. If the largest score is in the first tile: then every factor after it is 1. In a test with falling scores nobody
#    would notice.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the softmax across machines. The keys of a long text lie on K machines. Each has compared its own keys with
# the same B queries, and sends the three numbers of *Compute* for each query: its peak, its total, and its context, not
# yet divided. Merge them into the context of all keys together. Scores can be large: peaks of 1000 and -1000 should do
# no harm. A machine that saw no key for a query sends the peak -inf, the total 0 and the context 0; where no machine saw
# one, the context is 0. `check.merged.hint(1)` is there if you are stuck.


# %%
def merged(peaks, totals, contexts):
    """peaks (K, B), totals (K, B), contexts (K, B, E), each machine's own -> context (B, E)."""
    ### BEGIN SOLUTION
    highest = peaks.max(axis=0)  # (B,)
    base = np.where(np.isfinite(highest), highest, 0)  # (B,)
    factors = np.exp(peaks - base)  # (K, B)
    total = (factors * totals).sum(axis=0)  # (B,)
    context = (factors[..., None] * contexts).sum(axis=0)  # (B, E)
    return context / np.where(total == 0, 1, total)[:, None]
    ### END SOLUTION


# %%
check.merged(merged)

# %% [markdown]
# **Add a mechanism.** Where no weight has to wait for a sum over all keys, tiles need no rescaling at all: give every
# key a weight of its own, from 0 to 1, by a sigmoid. So that a row still sums to about 1 before anything is learned,
# $\ln S$ is taken from the scores:
#
# $$\text{weight}_{ts} = \sigma\!\left(\frac{q_t \cdot k_s}{\sqrt D} - \ln S\right) \qquad
#   \sigma(x) = \frac{1}{1 + e^{-x}} \qquad \text{context}_t = \sum_s \text{weight}_{ts} \, v_s$$
#
# and what the mask hides has the weight 0. In the library a mechanism is a file with these three functions, and one line
# in a list of names earns it all of its tests: CONTRIBUTING.md says how. Here a class is
# the drawer that holds the three.


# %%
class sigmoid_attention:
    """Weights between 0 and 1 that need not sum to 1."""

    def init(rng):
        """Nothing is learned."""
        return {}

    def forward(params, query, key, value, *, mask=None):
        """query (B, T, D), key (B, S, D), value (B, S, E), mask (B, T, S) or None -> context (B, T, E), cache."""
        ### BEGIN SOLUTION context
        S, D = key.shape[-2:]
        weights = 1 / (1 + S * np.exp(-query @ key.mT / D**0.5))  # (B, T, S)
        weights = weights if mask is None else np.where(mask, weights, 0)
        return weights @ value, (query, key, value, weights)
        ### END SOLUTION

    def backward(dcontext, cache):
        """dcontext (B, T, E) -> ((dquery, dkey, dvalue), {}): of the inputs, and of params, which are none."""
        ### BEGIN SOLUTION dquery, dkey, dvalue
        query, key, value, weights = cache
        dweights = dcontext @ value.mT
        dscores = dweights * weights * (1 - weights) / key.shape[-1] ** 0.5
        return (dscores @ key, dscores.mT @ query, weights.mT @ dcontext), {}
        ### END SOLUTION


# %%
check.sigmoid_attention(sigmoid_attention)

# %% [markdown]
# ## Read
#
# - Milakov & Gimelshein 2018, *Online normalizer calculation for softmax*, arXiv:1805.02867, algorithm 3: peak and
#   total in one pass.
# - Rabe & Staats 2021, *Self-attention does not need O(n²) memory*, arXiv:2112.05682, section 2.
# - Dao et al. 2022, *FlashAttention: fast and memory-efficient exact attention with IO-awareness*, arXiv:2205.14135,
#   algorithms 1 and 4.
# - Beltagy, Peters & Cohan 2020, *Longformer*, arXiv:2004.05150, section 3.1: windows.
# - Ramapuram et al. 2024, *Theory, analysis, and best practices for sigmoid self-attention*, arXiv:2409.04431: weights
#   by a sigmoid, and why ln S is taken off.
# - Katharopoulos et al. 2020, *Transformers are RNNs*, arXiv:2006.16236, equations 4 to 12: linear attention.
