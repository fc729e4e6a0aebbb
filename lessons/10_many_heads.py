# %% [markdown]
# # 10 · Many heads
#
# **You will be able to** say why one attention is not enough, and what it can never do; split a width into heads
# without mixing time into them; share keys between heads and say what that saves; and find out which heads of a
# trained model matter.
#
# *Needs lessons 01 and 08 (self-attention, masks). Thirty-five minutes.*

# %%
import math

import numpy as np
from matplotlib import pyplot as plt

from minattn import optim, tree
from minattn.attention import dot, multihead
from minattn.classroom import agree, check, data, keep, source
from minattn.data import manual
from minattn.functions import Loss, cross_entropy, mse, mse_backward
from minattn.gradcheck import gradcheck
from minattn.masks import causal
from minattn.models import language_model
from minattn.op import bind
from minattn.plots import curves, heads, heatmap
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A small language model has read the manual of Python: from the characters so far it guesses the next one. It has 2
# layers, and in each layer not one attention but 8 side by side. Each of them is called a **head**: it has its own
# queries, keys and values, and looks where it likes. (Its training took minutes and not seconds, so its parameters come
# from a file; `lessons/data/make_10_heads.py` has made it. The file also holds the 64 pieces of text on which the model
# is tested here, none of which it was trained on.)

# %%
saved, _ = data("10_heads.npz")
params = tree.astype(saved["model"], np.float32)
text = saved["valid"].astype(np.int64)  # (B, T + 1) characters, as numbers
model = bind(language_model, positions="rotary", activation="gelu_tanh")

L, (M, H, D) = len(params["blocks"]), params["blocks"]["0"]["look"]["W_query"].shape
print(f"{L} layers of {H} heads; width {M}, and {D} for each head")

piece = text[5:6, 21:41]
_, cache = model.forward(params, piece)
letters = list(manual.decode(piece[0]))
axes = heads(
    cache.weights[1][0],
    letters,
    letters,
    mask=causal(),
    title="The eight heads of the second layer on one piece of the manual: eight ways to look back",
)
keep(axes, "10_eight_heads")

# %% [markdown]
# Read a panel row by row: each row is one character asking, and the bright cells are where it looks. Heads 0, 5 and 7
# stay within a few characters. Head 2 looks at the opening quotation mark through most of *Assertion*, and at the E
# through *Error*: at the place where the word began. Nobody told it what a word is.
#
# Does the model need all of them? Silence one head at a time, let the others work on as they are, and measure how much
# worse the guesses become. The unit is the *nat*: the loss is the mean of -log p, p the probability that the model gave
# to the character that came. Guessing blindly among all characters costs about 4.6 nats.


# %%
def loss_of(params):
    logits, _ = model.forward(params, text[:, :-1])
    return float(cross_entropy(logits, text[:, 1:])[0].mean)


def without(params, *silenced):
    """A copy of params in which these heads, (layer, head), add nothing to what their layer says."""
    params = tree.map(np.copy, params)
    for layer, head in silenced:
        params["blocks"][str(layer)]["look"]["W_out"][head] = 0
    return params


whole = loss_of(params)
growth = np.array([[loss_of(without(params, (layer, head))) - whole for head in range(H)] for layer in range(L)])
print(f"loss with all heads: {whole:.2f} nats a character; blind guessing: {np.log(len(manual.ALPHABET)):.2f}")

figure, ax = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
for layer in range(L):
    places = np.arange(H) + layer * (H + 1)
    bars = ax.bar(places, growth[layer], color=COLOURS[layer], label=("first layer", "second layer")[layer])
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
ax.set_xticks([*range(H), *range(H + 1, 2 * H + 1)], [f"{head}" for _ in range(L) for head in range(H)])
ax.set(xlabel="the head that is silenced", ylabel="growth of the loss (nats a character)")
ax.set(
    title="Drop one head at a time: four of them are worth more than the other twelve", ylim=(0, 1.15 * growth.max())
)
ax.legend()
keep(figure, "10_ablation")

# %%
ranked = np.sort(growth.ravel())[::-1]
print(f"the four dearest heads cost {ranked[:4].sum() / ranked.sum():.0%} of what all sixteen cost, one by one")
print(f"cheapest {ranked[-1]:.2f}, median {np.median(ranked):.2f}, dearest {ranked[0]:.2f} nats")

# %% [markdown]
# Such a test is called an *ablation*. The heads are far from equal: four of sixteen make up more than half of the
# total, and in the second layer no head alone costs much. In large translation models the picture is more extreme:
# most heads could be silenced, one at a time, with hardly any loss (Michel et al. 2019), and 38 of 48 encoder heads
# could be pruned away for 0.15 BLEU, the score of a translation (Voita et al. 2019; neither is reproduced here). A
# model as small as this one has less to spare.

# %% [markdown]
# ## Compute
#
# Three boxes are labelled a, b and c, and hold the numbers 5, 2 and 4. The question is: *what is a minus b?*
#
# One head must look at a, because it is to be added, and at b, because it is to be subtracted. Say a box that is asked
# for has a score of log 8 and another one has 0, so that their shares are 8 and 1:
#
# | | a | b | c | sum | weights | answer |
# |---|---|---|---|---|---|---|
# | numbers | 5 | 2 | 4 | | | wanted: 5 - 2 = 3 |
# | shares of one head that asks for a and b | 8 | 8 | 1 | 17 | 0.471, 0.471, 0.059 | 3.529 |
# | shares of head 1, which asks for a | 8 | 1 | 1 | 10 | 0.8, 0.1, 0.1 | 4.6 |
# | shares of head 2, which asks for b | 1 | 8 | 1 | 10 | 0.1, 0.8, 0.1 | 2.5 |
# | head 1 minus head 2 | | | | | 0.7, -0.7, 0 | 2.1 = 0.7 · 3 |
#
# 3.5 is not far from 3? Exchange the two numbers: the right answer becomes -3. The one head still says 3.5, since it
# looks at both alike. The two heads say -2.1. What they lack is only a factor, 1 / 0.7.

# %%
shares = np.array([[8.0, 8.0, 1.0], [8.0, 1.0, 1.0], [1.0, 8.0, 1.0]])  # (3, S)
weights = shares / shares.sum(axis=-1, keepdims=True)  # (3, S)
print(weights)
for numbers in (np.array([5.0, 2.0, 4.0]), np.array([2.0, 5.0, 4.0])):
    together, first, second = weights @ numbers
    print(f"numbers {numbers}: one head {together:.3f}, two heads {(first - second) / 0.7:.3f}")

# %% [markdown]
# The weights of one head are never negative and sum to 1. Its answer is an *average*, and in an average everything
# counts in the same direction: one head cannot look at two places for two reasons. Two heads are two averages, and
# what comes after them may subtract one from the other.
#
# So far these weights were made by hand. Would training find them? Six boxes, a question with two names, and the
# answer is the number in the first minus the number in the second. One head of width 12 against two heads of width 6:
# both have the same number of parameters.

# %%
N = 6
names = np.eye(N)


def task(rng, B):
    """Questions, keys, values, each with features M = 2 N, and the right answers (B, 1)."""
    a = rng.integers(N, size=B)  # (B,)
    b = (a + rng.integers(1, N, size=B)) % N  # (B,)  another one
    query = np.concatenate([names[a], names[b]], axis=-1)[:, None]  # (B, 1, 2 N)
    key = np.broadcast_to(np.eye(N, 2 * N), (B, N, 2 * N))  # (B, N, 2 N)  the labels of the boxes
    numbers = rng.normal(size=(B, N))  # (B, N)
    value = np.zeros((B, N, 2 * N))  # (B, N, 2 N)
    value[..., 0] = numbers
    return query, key, value, (numbers[range(B), a] - numbers[range(B), b])[:, None]


def practise(H, seed, updates=400):
    rng = np.random.default_rng(seed)
    params, state, losses = multihead.init(rng, M=2 * N, H=H), None, []
    for _ in range(updates):
        query, key, value, wanted = task(rng, 64)
        out, cache = multihead.forward(params, query, key, value)
        losses.append(mse(out[..., 0], wanted).mean)  # the first of its 12 features is the answer
        dout = np.zeros_like(out)
        dout[..., 0], _ = mse_backward(Loss(1.0), out[..., 0], wanted)
        _, dparams = multihead.backward(dout, cache)
        params, state = optim.adam(params, dparams, state, learning_rate=0.01)
    return params, np.array(losses)


practised = {number: practise(number, seed=0) for number in (1, 2)}
smooth = {number: losses.reshape(-1, 10).mean(axis=1) for number, (_, losses) in practised.items()}
ax = curves(
    {"one head of width 12": smooth[1], "two heads of width 6": smooth[2]},
    np.arange(len(smooth[1])) * 10 + 5,
    title="a minus b: one head stops at half of the variance, two heads go on to 0",
    xlabel="updates",
    ylabel="mean squared error",
    ylim=(0, None),
)
ax.axhline(1, color="#888888", linewidth=1)
ax.text(400, 0.92, "grey line: the best that one head can do", ha="right", va="top", fontsize=9)
keep(ax, "10_one_head_fails")
for number, (_, losses) in practised.items():
    print(f"heads: {number}, mean squared error over the last 100 updates: {losses[-100:].mean():.2f}")

# %% [markdown]
# The wanted answer has variance 2, one for each of its two numbers. The one head ends at 1: it has found out how to
# look at a, and gives b up. *Derive* shows that no training can do better. The two heads, with not one parameter
# more, solve it.
#
# How do they? Ask the trained heads for box 2 minus box 4. What each head adds to the answer is its weights, times what
# its W_value and W_out make of a number:

# %%
query = np.concatenate([names[2], names[4]])[None, None]  # (1, 1, 2 N)
_, key, value, _ = task(np.random.default_rng(0), 1)
for number, (learned, _) in practised.items():
    _, cache = multihead.forward(learned, query, key, value)
    factor = np.einsum("he,he->h", learned["W_value"][0], learned["W_out"][..., 0])  # (H,)  number in, answer out
    print(f"heads: {number}")
    for head in range(number):
        print(f"  head {head} has weights {cache.weights[0, head, 0]} times {factor[head]:5.2f}")
    print(f"  together they weigh {(factor[:, None] * cache.weights[0, :, 0]).sum(axis=0)}")

# %% [markdown]
# Together the two heads weigh the boxes with about 1, -1 and nearly 0: two signs at once, which no single head can
# have. Their maps alone look undecided, with plenty of weight on boxes that nobody asked for. That part is the same
# in both and cancels in the difference. A map of one head is half of a sentence.

# %% [markdown]
# *You can go on to lesson 11 from here. What follows writes the formula down, with its gradient, and shares keys among
# heads.*

# %% [markdown]
# ## Derive
#
# **Forward.** Every head h projects the queries, keys and values, of width M, to its own small width D:
#
# $$Q_h = X W^{query}_h \qquad K_h = X W^{key}_h \qquad V_h = X W^{value}_h \qquad
#   A_h = \text{softmax}\big(Q_h K_h^T / \sqrt D\big)$$
#
# (with biases, which are left out here). The textbook form puts the contexts $A_h V_h$ beside each other, (T, H D), and
# multiplies by one matrix $W^{out}$. Cut that matrix into H slices of D rows, and the same thing is a sum:
#
# $$\text{context} = [A_1 V_1, \dots, A_H V_H] \; W^{out} = \sum_h A_h V_h W^{out}_h
#   = \sum_h A_h \, X \, (W^{value}_h W^{out}_h)$$
#
# So heads never talk to each other inside a layer; they add. To silence a head is to set its $W^{out}_h$ to 0. That is
# why the library keeps `W_out` as (H, D, M), and `W_query` as (M, H, D): the heads can be seen in the shapes.
#
# **Why one head stops at 1.** In the task the weights depend on the question alone, and the answer of one head is
# $c \sum_s w_s v_s$ for some number c. Its error against $v_a - v_b$, with independent $v_s$ of variance 1, is
#
# $$(c\,w_a - 1)^2 + (c\,w_b + 1)^2 + \sum_{s \ne a, b} (c\,w_s)^2$$
#
# No $w_s$ is negative. If c > 0, the second term is at least 1; if c < 0, the first one is. So the error is at least
# 1, and it is 1 for $c = w_a = 1$: look at a, forget b. A wider head changes nothing in this argument.
#
# **Backward.** Every head gets the same dcontext, through its own $W^{out}_h$; from there on it is the backward of
# `dot` and of three linear maps. X was used by all heads, three times each, so its gradient is a sum over all of
# them:
#
# $$dX = \sum_h \big(dQ_h W^{query\,T}_h + dK_h W^{key\,T}_h + dV_h W^{value\,T}_h\big)$$
#
# **Shared keys.** While a model writes, it keeps the keys and values of all earlier steps (lesson 14), 2 H D numbers
# for every step and layer. *Grouped queries* make fewer: G < H heads of keys and values, each shared by H / G heads
# of queries. What is used more than once collects gradient from each use:
#
# $$dK_g = \sum_{h \,\text{in group}\, g} dK_h \qquad\qquad dV_g = \sum_{h \,\text{in group}\, g} dV_h$$

# %% [markdown]
# ## Equal to the library
#
# The sum over heads, one at a time, in the forward and in the gradient at X:


# %%
def by_hand(params, x, dcontext, mask=None):
    context, dx = params["b_out"] + np.zeros_like(x), np.zeros_like(x)
    for h in range(params["W_query"].shape[1]):
        W = {name: params[f"W_{name}"][:, h] for name in ("query", "key", "value")}  # (M, D)
        projected = [x @ W[name] + params[f"b_{name}"][h] for name in W]  # (B, T, D)
        answer, cache = dot.forward({}, *projected, mask=mask)
        context = context + answer @ params["W_out"][h]  # (B, T, M)
        dprojected, _ = dot.backward(dcontext @ params["W_out"][h].T, cache)
        dx = dx + sum(dp @ W[name].T for name, dp in zip(W, dprojected, strict=False))
    return context, dx


rng = np.random.default_rng(1)
many = multihead.init(rng, M=12, H=4)  # D = E = 3
x, dcontext = rng.normal(size=(2, 5, 12)), rng.normal(size=(2, 5, 12))  # (B, T, M)

context, cache = multihead.forward(many, x, x, x, mask=causal())
(dquery, dkey, dvalue, _), _ = multihead.backward(dcontext, cache)
mine, dmine = by_hand(many, x, dcontext, causal())
agree(mine, context)
agree(dmine, dquery + dkey + dvalue)

# %% [markdown]
# Four heads that share two heads of keys and values, against four heads with copies of them. The outputs are the
# same, and the gradient of a shared matrix is the sum of the gradients of its copies:

# %%
grouped = multihead.init(rng, M=12, H=4, G=2)
shared = [name for name in grouped if name.split("_")[1] in ("key", "value")]  # W (M, G, D) and b (G, D)
copied = {name: p.repeat(2, axis=-2) if name in shared else p for name, p in grouped.items()}

context, cache = multihead.forward(grouped, x, x, x)
again, cache_of_copies = multihead.forward(copied, x, x, x)
agree(context, again)

_, dgrouped = multihead.backward(dcontext, cache)
_, dcopied = multihead.backward(dcontext, cache_of_copies)
for name in shared:
    dcopies = dcopied[name].reshape(*grouped[name].shape[:-2], 2, 2, 3)  # (..., G, H / G, D)
    agree(dgrouped[name], dcopies.sum(axis=-2))

# %% [markdown]
# What does sharing cost? The model of *See*, trained anew for each G and for fewer updates (by the same script):

# %%
trained = data("10_grouped.json")
for G in (8, 4, 2, 1):
    sizes = tree.leaves(language_model.init(rng, V=len(manual.ALPHABET), G=G, **trained["sizes"]))
    size = sum(leaf.size for _, leaf in sizes)
    losses = trained["loss"][str(G)]
    print(f"G = {G}: {size:,} parameters, {2 * G * D:3} numbers kept a character and layer, losses {losses}")

# %% [markdown]
# Two losses for each G, from two seeds, and the seed changes as much as G does: on this small task sharing costs
# nothing that can be measured so, with an eighth of the numbers to keep. (In large models one head of keys and values
# for all costs some quality and a few groups cost hardly any: Ainslie et al. 2023, not reproduced here.) The
# parameters shrink less than the kept numbers: the queries, W_out and the feed-forward part stay as they were.

# %%
source(multihead.attend)

# %% [markdown]
# ## A surprise
#
# One product projects for all heads: (T, M) times (M, H D) gives (T, H D). To get (H, T, D), it is tempting to write
# `reshape(H, T, D)`. The shape is right, and nothing complains. Number the rows of the projection by their time step
# and see where they go:


# %%
def wrong_split(x, H):
    B, T, M = x.shape
    return x.reshape(B, H, T, M // H)


def right_split(x, H):
    B, T, M = x.shape
    return x.reshape(B, T, H, M // H).swapaxes(1, 2)


steps = np.repeat(np.arange(6.0)[None, :, None], 4, axis=2)  # (1, T, H D): every row holds its own number
figure, axes = plt.subplots(2, 1, figsize=(7, 3.8), layout="constrained")
for ax, split, words in zip(
    axes, (right_split, wrong_split), ("reshape, then swap the axes", "reshape alone"), strict=True
):
    heatmap(
        split(steps, 2)[0, :, :, 0],
        ["head 0", "head 1"],
        ax=ax,
        annot=True,
        fmt=".0f",
        cbar=False,
        title=f"{words}: the time step that stands in each place",
        xlabel="place in the head's sequence",
        ylabel="",
    )
    ax.axhline(0.5, color="white")
keep(figure, "10_wrong_split")

# %% [markdown]
# The wrong split gives head 0 the first half of the time and head 1 the second half, every step twice. So much for the
# picture; now for the checks. Here is self-attention with the wrong split, and with a backward that undoes it:


# %%
def attention(x, split, mask=causal()):  # noqa: B008  a rule never changes
    B, T, M = x.shape
    parts = split(x, 2)  # (B, H, T, D)
    context, cache = dot.forward({}, parts, parts, parts, mask=mask)
    return (context if split is wrong_split else context.swapaxes(1, 2)).reshape(B, T, M), cache


def wrong(x):
    return attention(x, wrong_split)


def wrong_backward(dout, cache):
    (dquery, dkey, dvalue, _), _ = dot.backward(wrong_split(dout, 2), cache)
    return (dquery + dkey + dvalue).reshape(dout.shape)


x = np.random.default_rng(2).normal(size=(1, 6, 4))  # (B, T, M)
print("gradient check passes:", bool(gradcheck(wrong, wrong_backward, (x,))))

# %% [markdown]
# The gradient check passes, and rightly so: that backward *is* the derivative of that forward. It cannot know that
# the forward is not what was meant. Laws can. Under a causal mask no output may change when a later input does; and
# without a mask, attention knows no order: if the steps are shuffled, the outputs are shuffled the same way.


# %%
def reach(split):
    """(T, S): does output t change when input s does?"""
    before, _ = attention(x, split)
    changed = np.zeros((6, 6), dtype=int)
    for s in range(6):
        other = x.copy()
        other[:, s] += 1
        changed[:, s] = np.abs(attention(other, split)[0] - before).max(axis=(0, 2)) > 1e-9
    return changed


shuffle = np.array([3, 0, 5, 1, 4, 2])
for name, split in (("right", right_split), ("wrong", wrong_split)):
    future = np.triu(reach(split), 1).any()
    one, other = attention(x, split, None)[0][:, shuffle], attention(x[:, shuffle], split, None)[0]
    print(f"{name} split: ignores the future {not future}, shuffling law holds {np.allclose(one, other)}")
print("wrong split, which inputs (columns) reach which outputs (rows):")
print(reach(wrong_split))

# %% [markdown]
# With the wrong split nothing leaks from the future, so even the causal law is content. But the second half of the
# sequence never sees the first. Trained, such a model still learns something, and its loss goes down. The shuffling
# law finds the mistake, and so does an independent twin: the library holds every mechanism against plain loops for
# that reason (`multihead.naive`).
#
# A second surprise waits in the ablation. Each head was silenced while all others were there. Silence the cheapest ones
# together:

# %%
order = [tuple(map(int, np.unravel_index(i, growth.shape))) for i in np.argsort(growth, axis=None)]
for count in (1, 2, 4, 8, 12):
    alone = sum(growth[place] for place in order[:count])
    together = loss_of(without(params, *order[:count])) - whole
    print(f"the {count:2} cheapest heads: {alone:.2f} nats if their costs added up, {together:.2f} together")

# %% [markdown]
# The eight cheapest cost about a quarter more together than the sum of their bars: heads stand in for each other, and a
# bar says only what a head is worth while the rest is there. It does not say that all cheap heads can go.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** A model with M = 64 uses 8 heads of D = 8, and then 4 heads of D = 16. How does the number of
#    parameters of `multihead` change? And how many maps are there to look at?
# 2. **By hand.** In *Compute*, what is the answer of the two heads, with the factor 1 / 0.7, if box c holds 400 in
#    place of 4? And that of the one head?
# 3. **Write.** Another question: *the larger of a and b* is not the answer of two heads either, for any weights that
#    depend on the question alone. Say why, and give the smallest error of a linear answer by drawing many pairs.
# 4. **Mend.** Somebody joins the heads with `context.reshape(B, T, H * D)` where context is (B, H, T, D). Which law
#    of *A surprise* finds it, and what is missing?
# 5. **Change.** Silence all heads of a layer but one, for each layer and each head. In which layer can one head do
#    almost as well as eight?
#
# <details><summary>Answers</summary>
#
# 1. Not at all: `W_query` is (64, 8, 8) or (64, 4, 16), 4,096 numbers either way, and so are the others. The number
#    of maps halves. More heads are not more parameters, they are more but narrower looks.
# 2. Two heads: both have the weight 0.1 on c, which cancels, so the answer is still 3. One head: 0.471 · 5 + 0.471 ·
#    2 + 0.059 · 400 = 26.8.
# 3. Heads give averages, and W_out adds them up: the answer is linear in the numbers, and the larger of two is not.
#    The best linear answer is (a + b) / 2 plus a constant, and what is left is |a - b| / 2 without its mean, with
#    variance 1/2 - 1/π = 0.18: `a, b = rng.normal(size=(2, 10**6)); (np.abs(a - b) / 2).var()`. What comes after
#    attention, the feed-forward part of lesson 11, is there for that.
# 4. Both laws find this one, the causal one too: the first output would be made of the first steps of head 0, so it
#    knows what comes later. Missing is `context.swapaxes(1, 2)` before the reshape.
# 5. `without(params, *((layer, h) for h in range(H) if h != kept))`. In the second layer the best single head loses 1.0
#    nats and having none loses 1.4; in the first layer even the best single one loses 2.9. In this model: in neither.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the cut into heads for another layout. The features of a head need not lie side by side. Here they are dealt
# out like cards: feature m of a step belongs to head m % H, and is the feature m // H of that head.
# `check.split_heads.hint(1)` is there if you are stuck.


# %%
def split_heads(x, H):
    """x (B, T, M) with M = D H, head m % H has feature m -> heads (B, H, T, D)."""
    B, T, M = x.shape
    ### BEGIN SOLUTION
    features = x.reshape(B, T, M // H, H)  # (B, T, D, H)
    return features.transpose(0, 3, 1, 2)
    ### END SOLUTION


# %%
check.split_heads(split_heads)

# %% [markdown]
# **Write** the backward of attention whose H heads of queries share one key and one value (the case G = 1 of *Shared
# keys*). Forward is given; `[:, None]` is where the one is read by all.


# %%
def shared_keys(query, key, value):
    """query (B, H, T, D), key (B, S, D), value (B, S, E) -> context (B, H, T, E), cache."""
    scores = query @ key[:, None].mT / math.sqrt(query.shape[-1])  # (B, H, T, S)
    shares = np.exp(scores - scores.real.max(axis=-1, keepdims=True))  # (B, H, T, S)
    weights = shares / shares.sum(axis=-1, keepdims=True)  # (B, H, T, S)
    context = weights @ value[:, None]  # (B, H, T, E)
    return context, (query, key, value, weights)


def shared_keys_backward(dcontext, cache):
    """dcontext (B, H, T, E) -> dquery (B, H, T, D), dkey (B, S, D), dvalue (B, S, E)."""
    query, key, value, weights = cache
    ### BEGIN SOLUTION dquery, dkey, dvalue
    dvalue = (weights.mT @ dcontext).sum(axis=1)
    dweights = dcontext @ value[:, None].mT
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores = dscores / math.sqrt(query.shape[-1])
    dquery = dscores @ key[:, None]
    dkey = (dscores.mT @ query).sum(axis=1)
    return dquery, dkey, dvalue
    ### END SOLUTION


# %%
check.shared_keys_backward(shared_keys_backward)

# %% [markdown]
# ## Read
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2.2: many heads, in half a page.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*, arXiv:1905.10650, section 3: the ablation
#   of *See*, head by head, in models with 96 heads of each kind.
# - Voita et al. 2019, *Analyzing multi-head self-attention*, arXiv:1905.09418: heads with a job that can be named,
#   and the rest pruned.
# - Shazeer 2019, *Fast Transformer decoding: one write-head is all you need*, arXiv:1911.02150, and Ainslie et al.
#   2023, *GQA*, arXiv:2305.13245, section 2.2: keys and values shared by all heads, or by groups of them.
