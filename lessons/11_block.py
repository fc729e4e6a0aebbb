# %% [markdown]
# # 11 · The block
#
# **You will be able to** say what a residual connection, a layer norm and a feed-forward part do, and why a deep stack
# needs the first two; derive the backward of layer norm with its three terms; and say what changes when the norm stands
# before or after the sum.
#
# *Needs lessons 02 (gradients by hand) and 10 (heads). Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn.attention import multihead
from minattn.classroom import agree, check, data, keep, source
from minattn.functions import (
    Loss,
    cross_entropy,
    cross_entropy_backward,
    embedding,
    gelu,
    gelu_backward,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
)
from minattn.gradient_norms import gradient_norms
from minattn.masks import causal
from minattn.models import block, language_model
from minattn.plots import curves, gradient_flow
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Attention is one part of a Transformer. A layer of it, called a *block*, has two parts: a **look** around (the heads
# of lesson 10) and a **feed-forward** part, in which every step thinks for itself. Layers are stacked, twelve or a
# hundred high. The error is measured at the top, and its gradient has to come down through all of them.
#
# Two inventions let it pass. A **residual connection** adds what a part says to what it was given, instead of putting
# it in its place: x + f(x), not f(x). A **layer norm** gives the features of each step mean 0 and variance 1. It
# stands either *last*, after the sum, as in the first Transformer: norm(x + f(x)), called post-norm. Or it stands
# *first*, inside: x + f(norm(x)), called pre-norm.
#
# Here is such a stack with both as switches. Each function returns its result, and a function that takes a gradient
# back (*Derive* goes through it; you need not read it now).


# %%
def look(params, x):
    out, cache = multihead.forward(params, x, x, x, mask=causal())  # (B, T, M)
    return out, lambda dout: sum(multihead.backward(dout, cache)[0][:3])  # x was query, key and value


def feed(params, x):
    inside = linear(x, params["W_in"], params["b_in"])  # (B, T, 4 M)
    active = gelu(inside)  # (B, T, 4 M)

    def back(dout):
        dactive, *_ = linear_backward(dout, active, params["W_out"], params["b_out"])
        dx, *_ = linear_backward(gelu_backward(dactive, inside), x, params["W_in"], params["b_in"])
        return dx

    return linear(active, params["W_out"], params["b_out"]), back


def normed(norm, x, here):
    if not here:
        return x, lambda dout: dout
    out, *kept = layer_norm(x, norm["gain"], norm["bias"])  # (B, T, M)
    return out, lambda dout: layer_norm_backward(dout, *kept, norm["gain"], norm["bias"])[0]


def part(function, params, norm, x, place, residual):
    """One part of a block; place: where its norm stands, "first", "last", or None for no norm."""
    inner, back_first = normed(norm, x, place == "first")
    out, back_function = function(params, inner)
    out, back_last = normed(norm, x + out if residual else out, place == "last")

    def back(dout):
        dout = back_last(dout)
        dx = back_first(back_function(dout))
        return dx + dout if residual else dx

    return out, back


def flow(params, tokens, targets, place, residual):
    """The norm of the gradient at what enters each layer, and what leaves the last (L + 1, B, T); what leaves it."""
    x, backs = embedding(params["embed"], tokens), []  # (B, T, M)
    for layer in params["blocks"].values():
        x, back_look = part(look, layer["look"], layer["norm_look"], x, place, residual)
        x, back_feed = part(feed, layer["feed"], layer["norm_feed"], x, place, residual)
        backs.append((back_look, back_feed))
    top, back = normed(params["norm"], x, True)  # (B, T, M)  a last norm, in all stacks
    _, *kept = cross_entropy(linear(top, params["W_out"]), targets)
    dx, *_ = linear_backward(cross_entropy_backward(Loss(1.0), *kept), top, params["W_out"])
    passed = [back(dx)]
    for back_look, back_feed in reversed(backs):
        passed.append(back_look(back_feed(passed[-1])))
    return np.sqrt((np.stack(passed[::-1]) ** 2).sum(axis=-1)), top


def stack(L, seed=0, M=64):
    """A language model of L layers that has learned nothing yet; the embeddings have variance 1."""
    params = language_model.init(np.random.default_rng(seed), V=96, M=M, H=4, L=L, tied=False)
    params["embed"] *= np.sqrt(M)
    return params


STACKS = {
    "norm, no residual": ("first", False),
    "residual, no norm": (None, True),
    "post-norm": ("last", True),
    "pre-norm": ("first", True),
}
saved, _ = data("10_heads.npz")
text = saved["valid"].astype(np.int64)  # 64 pieces of the Python manual, in characters
tokens, targets = text[:8, :48], text[:8, 1:49]  # (B, T), and what comes next

L = 12
params = stack(L)
flows = {name: flow(params, tokens, targets, *switches) for name, switches in STACKS.items()}
norms = {name: passed for name, (passed, _) in flows.items()}
ax = gradient_flow(
    {name: passed.reshape(L + 1, -1).T for name, passed in norms.items()},
    title="Twelve layers before training: what is left of the gradient on its way down",
    xlabel="layer that it enters (12: above the last one; the error comes from the right)",
    ylabel="norm of the gradient at one character",
)
keep(ax, "11_gradient_by_depth")

# %% [markdown]
# Read from right to left, as the gradient goes. Each line is the median over 384 characters, the band the middle half.

# %%
for name, passed in norms.items():
    top, bottom = np.median(passed[-1]), np.median(passed[0])
    print(f"{name:18} top {top:.0e}   bottom {bottom:.0e}   bottom / top {bottom / top:.0e}")

# %% [markdown]
# - *Norm, no residual*: of the gradient at a typical character less than a hundred-millionth arrives. From such a
#   character the lower layers learn nothing.
# - *Residual, no norm*: the sums grow from layer to layer, and so does the gradient on its way down, ten thousand times
#   and more. Plain gradient descent has one learning rate, which cannot suit both ends.
# - *Post-norm*: it arrives, but several times weaker.
# - *Pre-norm*: about the same everywhere, within a factor of three.
#
# Does it matter? Stacks of 6 and of 12 narrow layers (M = 32) learn to guess the next character, with Adam at two
# learning rates (the figure shows 0.003). That takes minutes, so `lessons/data/make_11_race.py` has done it, with one
# seed.

# %%
race = data("11_race.json")
RATE = 0.003
kinds = {
    ("first", 0): "pre-norm, no warm-up",
    ("last", 0): "post-norm, no warm-up",
    ("last", 100): "post-norm, warm-up",
}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for ax, L_race in zip(axes, (6, 12), strict=True):
    chosen = [run for run in race["runs"] if run["layers"] == L_race]
    lines = {kinds[run["norm"], run["warm_up"]]: run["losses"] for run in chosen if run["rate"] == RATE}
    curves(
        lines,
        (np.arange(race["updates"] // race["every"]) + 0.5) * race["every"],
        ax=ax,
        title={6: "6 layers: the same in the end", 12: "12 layers: only pre-norm learns to read"}[L_race],
        xlabel="updates",
        ylabel="loss in training (nats a character)" if L_race == 6 else "",
    )
    for run in chosen:
        kind = kinds[run["norm"], run["warm_up"]]
        print(f"{L_race:2} layers, learning rate {run['rate']}, {kind:21}  loss on unseen text {run['valid']:.2f}")
keep(figure, "11_race")

# %%
share = np.bincount(text.ravel()) / text.size
share = share[share > 0]
print(f"knowing only how frequent each character is: {-(share * np.log(share)).sum():.1f} nats a character")

# %% [markdown]
# Six layers train with either: pre-norm is faster at first, and in the end all of one rate are within about 0.1 of
# each other. A warm-up, in which the rate rises from 0 over the first 100 updates, is no help. Twelve layers train
# with pre-norm. With post-norm they learn hardly more than how frequent each character is, at either rate, with a
# warm-up or without.
#
# That is one small model, one seed, one way to start and 300 updates. BERT has 12 layers with post-norm and was
# trained, with 10,000 updates of warm-up (Devlin et al. 2018, not reproduced here). The deeper the stack, the more
# care post-norm needs; pre-norm needs none of it here.

# %% [markdown]
# ## Compute
#
# **A layer norm**, for three steps with three features. Subtract the mean of the row, divide by its standard deviation:
#
# | step | features | mean | minus mean | variance | std | normalised |
# |---|---|---|---|---|---|---|
# | a | 1, 2, 6 | 3 | -2, -1, 3 | (4 + 1 + 9) / 3 = 4.667 | 2.160 | -0.926, -0.463, 1.389 |
# | b | 10, 20, 60 | 30 | -20, -10, 30 | 466.7 | 21.60 | -0.926, -0.463, 1.389 |
# | c | 101, 102, 106 | 103 | -2, -1, 3 | 4.667 | 2.160 | -0.926, -0.463, 1.389 |
#
# Ten times as large, or a hundred more: it makes no difference to what comes out. Whatever the layers below have done
# to the size of their numbers, the next part is fed in one and the same range. Each step is treated alone; no other
# step, and no other sequence, has a say.

# %%
x = np.array([[1.0, 2.0, 6.0], [10.0, 20.0, 60.0], [101.0, 102.0, 106.0]])  # (T, M)
centered = x - x.mean(axis=-1, keepdims=True)  # (T, M)
std = np.sqrt((centered**2).mean(axis=-1, keepdims=True))  # (T, 1)
print(centered / std)

# %% [markdown]
# **A residual**, for numbers in place of vectors. Three layers, each f(x) = 0.5 x. The slope of the whole is the
# product of the slopes of the layers:
#
# | | one layer | its slope | three layers | twelve layers |
# |---|---|---|---|---|
# | without | f(x) | 0.5 | 0.125 | 0.0002 |
# | with | x + f(x) | 1 + 0.5 | 3.375 | 129.7 |
#
# Multiply (1 + 0.5)(1 + 0.5)(1 + 0.5) out, and the slope is a sum over paths: at each layer the gradient goes through
# f or goes around it.
#
# | paths through | 0 layers | 1 layer | 2 layers | 3 layers | sum |
# |---|---|---|---|---|---|
# | how many | 1 | 3 | 3 | 1 | 8 |
# | slope of each | 1 | 0.5 | 0.25 | 0.125 | |
# | together | 1 | 1.5 | 0.75 | 0.125 | 3.375 |
#
# Without residuals only the last path is there, the longest one. With them there is always the path of slope 1 that
# goes around everything. And if 1.5 to the power of twelve is too much, that is where the norm comes in.

# %%
for depth in (3, 12):
    print(f"{depth} layers: without {0.5**depth:.4f}, with {1.5**depth:.3f}")

# %% [markdown]
# *You can go on to lesson 12 from here. What follows derives layer norm's gradient and says why the place of the norm
# matters.*

# %% [markdown]
# ## Derive
#
# **The feed-forward part** is two linear maps with a bend between them, the same for every step:
#
# $$\text{feed}(x) = \text{gelu}(x \, W_{in} + b_{in}) \, W_{out} + b_{out} \qquad\qquad \text{gelu}(u) = u \, \Phi(u)$$
#
# Φ(u) is the share of a standard normal distribution below u: far below 0 gelu is 0, far above it is u, and in
# between it is smooth. Without the bend the two maps would be one. Attention only averages; this is where features
# are combined in ways that are not averages.
#
# **Layer norm, forward.** For a row x of M features, with a learned gain and bias for each feature:
#
# $$\mu = \frac1M \sum_i x_i \qquad \sigma^2 = \frac1M \sum_i (x_i - \mu)^2 \qquad r = \frac1{\sqrt{\sigma^2 + \epsilon}}
#   \qquad n_i = (x_i - \mu) \, r \qquad \text{out}_i = \text{gain}_i \, n_i + \text{bias}_i$$
#
# ε is a small number that keeps a constant row from dividing by 0.
#
# **Backward.** Given dout, first $dn_i = dout_i \cdot \text{gain}_i$, and $d\text{gain}$ and $d\text{bias}$ are the
# sums of $dout \cdot n$ and of $dout$ over all rows. An $x_i$ reaches the loss in three ways:
#
# 1. **straight**, through its own $n_i$: the slope is r, which gives $r \, dn_i$.
# 2. **through the mean**, which is subtracted from every feature: $\partial\mu / \partial x_i = 1 / M$, and each
#    $n_j$ loses $r$ times that. Together $-r \cdot \frac1M \sum_j dn_j$.
# 3. **through r**, by which every feature is multiplied. From $r = (\sigma^2 + \epsilon)^{-1/2}$:
#    $\partial r / \partial x_i = -\frac12 r^3 \cdot \frac2M (x_i - \mu) = -\frac1M r^2 n_i$. Each $n_j$ changes by
#    $(x_j - \mu) = n_j / r$ times that. Together $-r \, n_i \cdot \frac1M \sum_j dn_j \, n_j$.
#
# (The mean also stands inside of σ², but there it does nothing: $\partial \sigma^2 / \partial \mu = -\frac2M \sum_j
# (x_j -
# \mu) = 0$.) The sum of the three:
#
# $$dx_i = r \, \Big( dn_i - \underbrace{\tfrac1M \textstyle\sum_j dn_j}_{\text{mean of } dn}
#   - n_i \, \underbrace{\tfrac1M \textstyle\sum_j dn_j \, n_j}_{\text{mean of } dn \cdot n} \Big)$$
#
# In words: take from dn its mean, and its share along n.
#
# **A residual, backward.** From y = x + f(x): $dx = dy + f\text{'s backward of } dy$. The first term is the path
# around.
#
# **Where the norm stands.** Pre-norm is x + f(norm(x)): the path around is never touched, so dy arrives at the bottom
# whole, and what comes through the parts is added. Post-norm is norm(x + f(x)): the path around goes through every
# norm. If x has variance 1 and f(x) adds as much again, the sum has variance 2, and the norm divides it by $\sqrt2$;
# its backward divides the gradient by $\sqrt2$ as well. L layers have 2 L norms, so of the path around is left
#
# $$\Big(\frac1{\sqrt2}\Big)^{2L} = 2^{-L}$$
#
# In pre-norm the sums are never divided, and grow with depth. Each part is fed through a norm, so the larger x is
# below it, the weaker its gradient; the last norm divides by about $\sqrt{2L + 1}$, for all layers at once.


# %%
DEPTHS = (2, 4, 8, 16, 24)
left = {name: [] for name in ("norm, no residual", "post-norm", "pre-norm")}
for depth in DEPTHS:
    deep = stack(depth)
    for name, ratios in left.items():
        passed, _ = flow(deep, tokens, targets, *STACKS[name])
        ratios.append(np.median(passed[0]) / np.median(passed[-1]))
left["the path around in post-norm, 1 / 2^L"] = [2.0**-depth for depth in DEPTHS]
ax = curves(
    left,
    DEPTHS,
    title="The deeper the stack, the less arrives, but for residuals with the norm first",
    xlabel="layers",
    ylabel="gradient at the bottom / at the top",
)
ax.set_yscale("log")
ax.set_xticks(DEPTHS)
keep(ax, "11_depth")
print(
    "post-norm, bottom / top:", {depth: f"{ratio:.2g}" for depth, ratio in zip(DEPTHS, left["post-norm"], strict=True)}
)
print(
    "pre-norm,  bottom / top:", {depth: f"{ratio:.2g}" for depth, ratio in zip(DEPTHS, left["pre-norm"], strict=True)}
)

# %% [markdown]
# Post-norm loses less than 1 / 2^L, because some gradient also comes through the parts; but it loses by a factor for
# each layer, which from 8 layers on is a straight line here.

# %% [markdown]
# ## Equal to the library
#
# The three terms, written as they were derived:


# %%
def by_hand(dout, normalized, inverse_std, gain):
    dn = dout * gain
    mean = dn.mean(axis=-1, keepdims=True)
    along = (dn * normalized).mean(axis=-1, keepdims=True)
    return inverse_std * (dn - mean - normalized * along)


rng = np.random.default_rng(0)
x, dout = rng.normal(size=(4, 7)), rng.normal(size=(4, 7))  # (T, M)
gain, bias = rng.normal(size=7), rng.normal(size=7)
out, normalized, inverse_std = layer_norm(x, gain, bias)
dx, dgain, dbias = layer_norm_backward(dout, normalized, inverse_std, gain, bias)
agree(by_hand(dout, normalized, inverse_std, gain), dx)
agree((dout * normalized).sum(axis=0), dgain)
agree(dout.sum(axis=0), dbias)

# %% [markdown]
# The stack of *See*, one layer of it against `block`, and all twelve layers against `gradient_norms`, with the norm
# in both places:

# %%
x, dout = rng.normal(size=(2, 5, 64)), rng.normal(size=(2, 5, 64))  # (B, T, M)
layer = params["blocks"]["0"]
for name, place in (("pre-norm", "first"), ("post-norm", "last")):
    middle, back_look = part(look, layer["look"], layer["norm_look"], x, place, True)
    mine, back_feed = part(feed, layer["feed"], layer["norm_feed"], middle, place, True)
    theirs, cache = block.forward(layer, x, mask=causal(), norm_first=place == "first")
    (dx, _, _), _ = block.backward(dout, cache)
    agree(mine, theirs)
    agree(back_look(back_feed(dout)), dx)

    whole = gradient_norms(language_model, params, (tokens,), targets, norm_first=place == "first")
    agree(norms[name][:-1], whole.layers)

# %%
source(layer_norm, layer_norm_backward)

# %%
source(block.forward)

# %% [markdown]
# ## A surprise
#
# Step b of *Compute* was ten times step a, and nothing came of it. If making x longer changes nothing, then the slope
# of the loss in the direction of x is 0: **the gradient at x stands at right angles to x** (minus its mean). It also
# stands at right angles to (1, 1, ..., 1), since adding a hundred changes nothing either. And if x is ten times as
# long, the gradient is ten times as short.

# %%
x, dout = rng.normal(size=(100, 32)), rng.normal(size=(100, 32))  # (T, M)
gain = rng.normal(size=32)


def gradient(x, eps=0.0):
    _, *kept = layer_norm(x, gain, eps=eps)
    return layer_norm_backward(dout, *kept, gain)[0]


dx = gradient(x)
centered = x - x.mean(axis=-1, keepdims=True)
agree((dx * centered).sum(axis=-1), np.zeros(100))
agree(dx.sum(axis=-1), np.zeros(100))
agree(gradient(10 * x), dx / 10)

dx = gradient(x, eps=1e-5)  # as the library has it by default
lengths = np.sqrt((dx**2).sum(axis=-1) * (centered**2).sum(axis=-1))
print(
    "with eps = 1e-5 the cosine is at most 1e-4:", bool(np.max(np.abs((dx * centered).sum(axis=-1)) / lengths) < 1e-4)
)

# %% [markdown]
# **Predict.** A row has two features only, and they are not equal: M = 2, gain 1, bias 0, ε = 0. What is dx?
#
# - a: (0, 0), whatever dout is
# - b: some (g, -g), with a g that depends on dout
# - c: dout divided by the standard deviation

# %%
### BEGIN SOLUTION
two_features = "a"
### END SOLUTION
check.two_features(two_features)

# %%
pairs, dpairs = np.random.default_rng(1).normal(size=(2, 5, 2))  # (T, M) each
out, *kept = layer_norm(pairs, np.ones(2), eps=0.0)
print(out)
agree(layer_norm_backward(dpairs, *kept, np.ones(2))[0], np.zeros((5, 2)))

# %% [markdown]
# Which of the two features is larger is all that is left of a row, and a small step does not change that: no gradient
# comes down through a norm of two features.
#
# With three features this can be drawn. What is left after the mean has been taken away is a plane, and layer norm puts
# every point of it onto one circle. Arrows: the way downhill, for the loss dout · n with one fixed dout.

# %%
plane = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])  # two directions without a mean
push = np.array([0.9, -0.5, -0.4])  # dout
ones = np.ones(3)


def downhill(points):
    """points (..., 2) of the plane -> minus the gradient there (..., 2)."""
    _, *kept = layer_norm(points @ plane, ones, eps=0.0)
    dx, *_ = layer_norm_backward(np.broadcast_to(push, (*points.shape[:-1], 3)), *kept, ones)
    return -dx @ plane.T


walk = [np.array([0.55, -0.45])]
for _ in range(12):
    walk.append(walk[-1] + 0.25 * downhill(walk[-1][None])[0])
walk = np.stack(walk)

radius, angle = np.meshgrid(np.array([0.8, 1.3, 1.8, 2.3]), np.linspace(0, 2 * np.pi, 24, endpoint=False))
grid = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
arrows = downhill(grid)
figure, ax = plt.subplots(figsize=(6, 7), layout="constrained")
for r in radius[0]:
    ax.add_patch(plt.Circle((0, 0), r, fill=False, color="#dddddd"))
ax.add_patch(
    plt.Circle((0, 0), np.sqrt(3), fill=False, color=COLOURS[6], linestyle="--", label="where layer norm puts x")
)
ax.quiver(grid[..., 0], grid[..., 1], arrows[..., 0], arrows[..., 1], color=COLOURS[0], width=0.004, label="downhill")
ax.plot(*walk.T, "o-", color=COLOURS[1], markersize=4, label="twelve steps of gradient descent")
ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 3.5), aspect="equal", xlabel="x along (1, -1, 0)", ylabel="x along (1, 1, -2)")
ax.set_title("No arrow points inwards or outwards: every step makes x longer")
ax.legend(loc="upper right")
keep(figure, "11_right_angles")

length = np.sqrt((walk**2).sum(axis=-1))
print("length of x after each step:", length)
print("it never shrinks:", bool(np.all(np.diff(length) >= 0)))

# %% [markdown]
# A step along a tangent leads off the circle, to the outside, never to the inside (Pythagoras). The same holds for
# weights that stand right before a norm: under plain gradient descent they can only grow, and the longer they are,
# the less a step turns them. A learning rate then says something only together with the length of what it moves.
#
# A second one. The first figure showed the gradient at a *typical* character. Where does it go, if it does not arrive
# there?

# %%
T = tokens.shape[1]
for name, (passed, top) in flows.items():
    energy = (passed[0] ** 2).sum(axis=0)  # (T,)
    total = np.sqrt(energy.sum() / (passed[-1] ** 2).sum())
    unit = top / np.sqrt((top**2).sum(axis=-1, keepdims=True))  # (B, T, M)
    alike = ((unit @ unit.mT).mean() * T - 1) / (T - 1)  # the mean cosine of two different characters
    print(
        f"{name:18} bottom / top in all {total:7.1e}, first character {energy[0] / energy.sum():4.0%}, alike {alike:.2f}"
    )

# %% [markdown]
# In all it does not vanish, not even without residuals: it goes to the first character. Under a causal mask that one
# is in everybody's past. Averages of averages become more and more alike, layer by layer, and what they have in
# common comes from the first characters. The last column says how alike: the mean cosine of what leaves the stack at
# two different characters (1: the same). A residual keeps each character its own part. Post-norm halves the path
# around in each layer, and after twelve layers the characters can hardly be told apart, which is one reason why its
# race ended as it did.
#
# A sum over all characters would have hidden what the median shows, and the median alone would have hidden this.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** A row is (0, 0, 3), gain 1, bias 0, ε = 0. Normalise it. With dout = (1, 0, 0), compute the three
#    terms and dx. Check that dx has the sum 0 and stands at right angles to the row minus its mean.
# 2. **Mend.** Somebody writes `dx = gain * inverse_std * (dout - dout.mean(-1, keepdims=True) - normalized * (dout *
#    normalized).mean(-1, keepdims=True))`. For which gains is it right? Would a test of a fresh model find the mistake?
# 3. **Change.** Let `W_out` of `look` and of `feed` start at 0 in every layer. What does the pre-norm stack do at the
#    start, and what gradient arrives at the bottom?
# 4. **Predict.** Batch norm takes the mean and the variance of each feature over the batch. Which of the sentences
#    below the first table of *Compute* are then wrong?
#
# <details><summary>Answers</summary>
#
# 1. Mean 1, minus mean (-1, -1, 2), variance 2, r = 0.707, n = (-0.707, -0.707, 1.414). Mean of dn: 0.333. Mean of dn
#    · n: -0.236, times -n: (-0.167, -0.167, 0.333). dx = 0.707 · (1 - 0.333 - 0.167, -0.333 - 0.167, -0.333 + 0.333)
#    = (0.354, -0.354, 0). The sum is 0, and 0.354 · (-1) - 0.354 · (-1) + 0 · 2 = 0.
# 2. Only where all gains are equal: the gain belongs inside of both means. A fresh model has gain 1 everywhere, so
#    the test passes; gradient checks here move every parameter off its start first.
# 3. A part whose `W_out` is 0 (and whose bias is 0) adds nothing: the whole stack is then the identity, and the
#    gradient arrives at the bottom exactly as it left the top. Its layers learn their `W_out` first.
# 4. The last one: the other steps and sequences of the batch have a say. And the first: a step that is ten times as
#    large as the others stays ten times as large.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the backward of a norm that many language models have in the place of layer norm: a row is divided by the
# root of the mean of its squares, its *rms*; no mean is taken off, and there is no bias. The gain is stored as its
# distance from 1, so that a gain of 0 changes nothing. Forward is given. `check.rms_backward.hint(1)` is there if you
# are stuck.


# %%
def rms_norm(x, gain, epsilon):
    """x (B, T, M), gain (M,), epsilon > 0, a number -> out (B, T, M), cache."""
    rms = np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)  # (B, T, 1)
    out = (1 + gain) * x / rms  # (B, T, M)
    return out, (x, gain, rms)


def rms_backward(dout, cache):
    """dout (B, T, M) -> dx (B, T, M), dgain (M,)."""
    x, gain, rms = cache
    ### BEGIN SOLUTION dx, dgain
    dgain = (dout * x / rms).sum(axis=(0, 1))
    dscaled = dout * (1 + gain)
    drms = -(dscaled * x).sum(axis=-1, keepdims=True) / rms**2
    return dscaled / rms + drms * x / (x.shape[-1] * rms), dgain
    ### END SOLUTION


# %%
check.rms_backward(rms_backward)

# %% [markdown]
# ## Read
#
# - He et al. 2015, *Deep residual learning for image recognition*, arXiv:1512.03385, sections 1 and 3.1: residuals.
# - Ba, Kiros & Hinton 2016, *Layer normalization*, arXiv:1607.06450, section 3, and section 5.1 on what changes
#   nothing.
# - Xiong et al. 2020, *On layer normalization in the Transformer architecture*, arXiv:2002.04745, section 3: the
#   gradient at the start, pre-norm and post-norm, and why one of them needs a warm-up.
# - Veit, Wilber & Belongie 2016, *Residual networks behave like ensembles of relatively shallow networks*,
#   arXiv:1605.06431, section 3: the sum over paths.
# - Devlin et al. 2018, *BERT*, arXiv:1810.04805, appendix A.2: how a post-norm stack of 12 layers was trained.
# - Hendrycks & Gimpel 2016, *Gaussian error linear units*, arXiv:1606.08415.
