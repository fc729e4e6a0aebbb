# %% [markdown]
# # 07 · Scores
#
# **You will be able to** name four ways to score a key against a query and say what each of them can express; say why
# a dot product is divided by $\sqrt D$, and by nothing else; and send a gradient back through a softmax by hand.
#
# *Needs lesson 01, and from lesson 02 what a gradient is. Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import optim
from minattn.attention import additive, bilinear, concat, dot, local
from minattn.classroom import agree, check, keep, source
from minattn.data import digits
from minattn.functions import Loss, mse_backward, sigmoid, softmax, softmax_backward
from minattn.op import bind
from minattn.plots import curves, heatmap

np.set_printoptions(precision=4, suppress=True)

# %% [markdown]
# ## See
#
# Ten digits written by hand are the *keys*, one of each kind. Ten others, most of them by other hands, are the
# *queries*: each looks for its like. A picture of 8 x 8 pixels is a row of D = 64 numbers; each pixel is shifted and
# stretched so that over all training digits its mean is 0 and its variance 1. The *score* of a key is the dot product
# of the two rows, and softmax (lesson 01) makes *weights* of the scores.

# %%
train, test = digits.split()
pixels = train.images.reshape(-1, 64)
spread = pixels.std(axis=0)


def features(images):
    rows = images.reshape(-1, 64) - pixels.mean(axis=0)
    return np.where(spread > 0.02, rows / np.maximum(spread, 0.02), 0)  # a pixel that is always white says nothing


def one_of_each(part):
    return part.images[[np.flatnonzero(part.labels == digit)[0] for digit in range(10)]]


asking, asked = one_of_each(test), one_of_each(train)  # (10, 8, 8) each
query, key = features(asking), features(asked)  # (T, D), (S, D) = (10, 64)
scores = query @ key.T  # (T, S)
D = query.shape[-1]

figure, axes = plt.subplots(
    2, 3, figsize=(10, 5.4), width_ratios=[1, 10, 10], height_ratios=[1, 10], layout="constrained"
)
axes[0, 0].axis("off")
framed = np.pad(np.stack([asking, asked]), ((0, 0), (0, 0), (1, 1), (1, 1)))  # white between one and the next
axes[1, 0].imshow(np.vstack(framed[0]), cmap="gray_r", aspect="auto")
for (above, below), scale, title in (
    (axes[:, 1], 1, "Scores as they are: sure, even where wrong"),
    (axes[:, 2], 1 / np.sqrt(D), "Scores divided by √64: in doubt"),
):
    above.imshow(np.hstack(framed[1]), cmap="gray_r", aspect="auto")
    above.set_title(title)
    heatmap(softmax(scores * scale), range(10), range(10), ax=below, vmax=1, cbar=scale != 1, ylabel=None, xlabel="key")
for ax in (*axes[0], axes[1, 0]):
    ax.set(xticks=[], yticks=[])
axes[1, 0].set_ylabel("query")
keep(figure, "07_sure_and_wrong")

# %% [markdown]
# A row is one query; its like stands on the diagonal. The largest weight of a row is in the same place in both maps,
# since dividing all scores by one number changes no order. On the left most rows put all of their weight on one key,
# and the 8 is rather sure of a 1. On the right the 8 hesitates between 1, 8 and 2, and the 5 between 5, 9 and 0.
#
# Over all 510 test digits, with the weight of the right key, and how *surprised* one is by it, -log(weight): 0 for a
# weight of 1, and log 10 = 2.30 for somebody who knows nothing and gives each key a tenth.

# %%
every, labels = features(test.images) @ key.T, test.labels  # (510, S), (510,)
print("scores           right   largest weight: on average   where wrong   surprise")
for name, scale in (("as they are", 1), ("divided by √D", 1 / np.sqrt(D)), ("divided by D", 1 / D)):
    weights = softmax(every * scale)
    wrong = weights.argmax(axis=1) != labels
    surprise = -np.log(weights[np.arange(len(labels)), labels]).mean()
    most, doubt = weights.max(axis=1).mean(), weights.max(axis=1)[wrong].mean()
    print(f"{name:16} {1 - wrong.mean():5.0%}   {most:27.2f} {doubt:13.2f} {surprise:10.2f}")

# %% [markdown]
# Left as they are, the scores are worse than knowing nothing: they are sure when wrong. Divided by D, all keys look
# nearly alike. The square root stands between the two, and this lesson says why it is the right place.
#
# The second question of this lesson is what a score can say at all. These queries look for what is *like themselves*.
# A query in one language that looks for a key in another needs a score that translates, and a query that means "the
# third from the left" needs one that knows about places.

# %% [markdown]
# ## Compute
#
# Three keys and one query, D = 4, for the three scores of Luong, Pham and Manning (2015) and their local attention:
#
# | score | formula | learned | what it says |
# |---|---|---|---|
# | **dot** | query · key | nothing | like me |
# | **general** | query · (W key) | W | like what W makes of me |
# | **concat** | v · tanh(Wᵀ [query, key]) | W, v | what a small network thinks of the pair |
# | **local** | general, times a bell curve around a place | W, and what predicts the place | like that, and near there |
#
# Take query = (2, 0, 2, 0). *dot* divides by √4 = 2, which Luong's does not. For *general* let W be half of the
# matrix that swaps the first feature with the second and the third with the fourth: it makes (0, 1, 0, 1) of the
# query. For *concat* take A = 1 hidden feature, half of the query's first number less the key's first, and v = 2.
#
# | | key | dot | weight | general | weight | concat | weight |
# |---|---|---|---|---|---|---|---|
# | a | (1, 0, 1, 0) | 4 / 2 = 2 | 0.665 | 0 | 0.090 | 2 tanh(1 - 1) = 0 | 0.098 |
# | b | (0, 1, 1, 0) | 2 / 2 = 1 | 0.245 | 1 | 0.245 | 2 tanh(1 - 0) = 1.523 | 0.451 |
# | c | (0, 1, 0, 1) | 0 / 2 = 0 | 0.090 | 2 | 0.665 | 2 tanh(1 - 0) = 1.523 | 0.451 |
#
# Same memory, same query: dot finds what is like the query, general what is like its translation, and this concat
# whatever lacks the first feature.
#
# *local* multiplies the weights of general by a bell around a centre. Say that the query predicts the middle, 1.5, that
# the bell has the standard deviation 1, and that a, b, c stand at 0, 1, 2. The bell is 0.325, 0.882, 0.882, and the
# products are 0.029, 0.216, 0.587. They sum to 0.83: what the bell cuts off is not given to the others.

# %%
one = np.array([[2.0, 0.0, 2.0, 0.0]])  # (T, D)
abc = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]])  # (S, D)
value = np.eye(3)  # (S, E): with these values the context is the row of weights
swap = {"W": 0.5 * np.eye(4)[[1, 0, 3, 2]]}  # (N, D)
small = {"W": np.array([[0.5, 0, 0, 0, -1, 0, 0, 0]]).T, "v": np.array([2.0])}  # (N + D, A), (A,)
middle = swap | {"W_position": np.zeros((4, 1)), "v_position": np.zeros(1)}  # sigmoid(0) = 1/2 of S = 3

for name, op, params, options in (
    ("dot", dot, {}, {}),
    ("general", bilinear, swap, {}),
    ("concat", concat, small, {}),
    ("local", local, middle, {"reach": 2.0}),  # the bell's standard deviation is half of the reach
):
    context, _ = op.forward(params, one, abc, value, **options)
    print(f"{name:8}", context[0].round(3), "sum", context.sum().round(2))

# %% [markdown]
# Now the way back. With the scores (log 2, 0, 0) the shares are 2, 1, 1 and the weights 1/2, 1/4, 1/4. Raise one score
# by a tiny h: its own weight grows by h · w (1 - w), and each other weight pays for it with h · w · w', because the sum
# stays 1.
#
# | raise the score of | weight of a | weight of b | weight of c | sum |
# |---|---|---|---|---|
# | a | 1/2 · 1/2 = 4/16 | -1/2 · 1/4 = -2/16 | -2/16 | 0 |
# | b | -2/16 | 1/4 · 3/4 = 3/16 | -1/4 · 1/4 = -1/16 | 0 |
# | c | -2/16 | -1/16 | 3/16 | 0 |
#
# That table is called the **Jacobian** of the softmax: all derivatives of all outputs. Look what remains of it where
# one weight has nearly everything:

# %%


def jacobian(weights):
    return np.diag(weights) - np.outer(weights, weights)  # (S, S)


for scores in (np.array([np.log(2), 0, 0]), np.array([np.log(98), 0, 0])):
    weights = softmax(scores)
    print("weights", weights, "\n", jacobian(weights), "largest entry", jacobian(weights).max().round(4))

# %% [markdown]
# With the weights 0.98, 0.01, 0.01 the largest entry is about a thirteenth of what it was: whatever the loss says,
# hardly any of it reaches the scores. Softmax is *saturated* there.
#
# *You can go on to lesson 08 from here. What follows derives both halves and measures how fast saturation comes.*

# %% [markdown]
# ## Derive
#
# **The scores.** With query $q$ of width $N$ and key $k_s$ of width $D$ (sections 3.1 and 3.2 of the paper):
#
# $$\text{dot: } q^\top k_s \qquad \text{general: } q^\top W k_s \qquad
#   \text{concat: } v^\top \tanh(W^\top [q; k_s])$$
#
# $$\text{local: } \operatorname{softmax}_s(q^\top W k_s) \cdot
#   \exp\!\left(-\frac{(s - p)^2}{2 \sigma^2}\right), \qquad
#   p = S \cdot \operatorname{sigmoid}(v_p^\top \tanh(W_p^\top q)), \qquad \sigma = \text{reach} / 2$$
#
# where keys farther than `reach` from the centre $p$ are left out. General needs $N D$ numbers and lets query and key
# have different widths. Dot is general with $W = 1$; divided by $\sqrt D$ it is general with $W = 1 / \sqrt D$.
#
# **How large a dot product is.** Let the features of $q$ and $k$ be independent, with mean 0 and variance 1. Each
# term of $q \cdot k = \sum_d q_d k_d$ has
#
# $$\mathrm E[q_d k_d] = \mathrm E[q_d] \, \mathrm E[k_d] = 0, \qquad
#   \operatorname{Var}[q_d k_d] = \mathrm E[q_d^2] \, \mathrm E[k_d^2] = 1.$$
#
# Terms with different $d$ are independent, so their variances add:
#
# $$\operatorname{Var}[q \cdot k] = D, \qquad \text{standard deviation } \sqrt D.$$
#
# Divided by $\sqrt D$ the scores spread by 1 whatever D is. Divided by D they spread by $1 / \sqrt D$: in the limit all
# are equal. Independence matters; features that rise and fall together make a larger sum:

# %%
rng = np.random.default_rng(0)
for D in (4, 64, 1024):
    drawn = (rng.normal(size=(2000, D)) * rng.normal(size=(2000, D))).sum(axis=1)
    print(f"D = {D:4}: √D = {np.sqrt(D):4.1f}, standard deviation of random dot products {drawn.std():5.1f}")
print(f"the digits: √64 = 8, standard deviation {every.std():.1f}, since neighbouring pixels agree")

# %% [markdown]
# **The way back.** With $w_i = e^{s_i} / \sum_j e^{s_j}$ the quotient rule gives
#
# $$\frac{\partial w_i}{\partial s_j} = w_i \, [i = j] - w_i w_j, \qquad
#   J = \operatorname{diag}(w) - w w^\top,$$
#
# and for a gradient `dweights` that comes from above,
#
# $$\text{dscores} = J^\top \text{dweights}, \qquad
#   \text{dscores}_i = w_i \Bigl(\text{dweights}_i - \sum_j w_j \, \text{dweights}_j\Bigr).$$
#
# Read it so: a key is pulled up if it is better than the average of what was seen, and in proportion to its weight. J
# is symmetric, and it is the covariance matrix of drawing one key with the probabilities $w$, so none of its
# eigenvalues is negative. Their sum is its trace, hence
#
# $$\text{no direction passes more than } \operatorname{trace} J = \sum_i w_i (1 - w_i) = 1 - \sum_i w_i^2.$$
#
# Where one weight is 1 that is 0: the gradient is cut, however wrong the look was.
#
# Both halves together: random queries look at S = 64 random keys. The *entropy* $-\sum w \log w$ says over how many
# keys a row spreads: log S if all weights are equal, 0 if one has everything. The gradient at the weights is random,
# of length 1.

# %%
S, queries, sizes = 64, 512, 2 ** np.arange(2, 11)
rng = np.random.default_rng(0)
entropy, gradient = {}, {}
for D in sizes:
    query, key = rng.normal(size=(queries, D)), rng.normal(size=(S, D))
    dweights = rng.normal(size=(queries, S))
    dweights /= np.linalg.norm(dweights, axis=1, keepdims=True)
    for name, scale in (("not scaled", 1), ("divided by √D", 1 / np.sqrt(D)), ("divided by D", 1 / D)):
        weights = softmax(query @ key.T * scale)  # (T, S)
        spread_over = -(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=1)
        dscores = softmax_backward(dweights, weights)  # (T, S)
        entropy.setdefault(name, []).append(spread_over.mean() / np.log(S))
        gradient.setdefault(name, []).append(np.median(np.linalg.norm(dscores, axis=1)))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
curves(
    entropy,
    sizes,
    ax=left,
    ylim=(0, 1.05),
    title="Not scaled, the look narrows to one key",
    xlabel="features D of query and key",
    ylabel="entropy of the weights (share of log S)",
)
curves(
    gradient,
    sizes,
    ax=right,
    title="Not scaled, the gradient dies",
    xlabel="features D of query and key",
    ylabel="norm of the gradient at the scores (median)",
)
for ax in (left, right):
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(D) for D in sizes])
right.set_yscale("log")
keep(figure, "07_collapse")

# %%
for D in (4, 64, 1024):
    at = list(sizes).index(D)
    unscaled, scaled = (gradient[name][at] for name in ("not scaled", "divided by √D"))
    spread_over, wide = (entropy[name][at] for name in ("not scaled", "divided by √D"))
    print(
        f"D = {D:4}, not scaled: entropy {spread_over:.2f} (scaled {wide:.2f}), gradient {unscaled:.0e} ({scaled:.0e})"
    )

# %% [markdown]
# With $\sqrt D$ both lines are flat: a model may be made wider, and its first updates find it as teachable as before.
# Not scaled, at D = 1024, half of the queries receive less than a hundredth of that gradient. Divided by D the gradient
# at the scores stays, but every query sees all keys nearly alike.

# %% [markdown]
# ## Equal to the library
#
# `dot`, `bilinear` (Luong's general), `concat` and `local`, each against its formula written out:

# %%
rng = np.random.default_rng(0)
T, S, N, D, E, A = 3, 6, 5, 5, 4, 7
query, key, value = rng.normal(size=(T, N)), rng.normal(size=(S, D)), rng.normal(size=(S, E))

context, _ = dot.forward({}, query, key, value)
agree(softmax(query @ key.T / np.sqrt(D)) @ value, context)

general = bilinear.init(rng, N=N, D=D)
context, cache = bilinear.forward(general, query, key, value)
agree(softmax(query @ general["W"] @ key.T) @ value, context)

pairs = np.concatenate(np.broadcast_arrays(query[:, None], key[None]), axis=-1)  # (T, S, N + D)
network = concat.init(rng, N=N, D=D, A=A)
agree(softmax(np.tanh(pairs @ network["W"]) @ network["v"]) @ value, concat.forward(network, query, key, value)[0])

near = local.init(rng, N=N, D=D, A=A)
centre = S * sigmoid(np.tanh(query @ near["W_position"]) @ near["v_position"])[:, None]  # (T, 1)
away = np.arange(S) - centre  # (T, S)
aligned = softmax(query @ near["W"] @ key.T, np.abs(away) <= 2)  # (T, S)
bell = np.exp(-(away**2) / 2)  # (T, S)  reach 2: standard deviation 1
agree((aligned * bell) @ value, local.forward(near, query, key, value, reach=2.0)[0])

# %% [markdown]
# And the way back, through the softmax and through W. From $\text{scores} = q W k^\top$ follow
# $\text{dW} = q^\top \, \text{dscores} \, k$, $\text{dquery} = \text{dscores} \, k W^\top$ and
# $\text{dkey} = \text{dscores}^\top q W$:

# %%
dcontext = rng.normal(size=(T, E))
(dquery, dkey, dvalue, _), dparams = bilinear.backward(dcontext, cache)

dweights = dcontext @ value.T  # (T, S)
dscores = np.stack([jacobian(w) @ dw for w, dw in zip(cache.weights, dweights, strict=True)])  # (T, S)
agree(dscores, softmax_backward(dweights, cache.weights))
agree(query.T @ dscores @ key, dparams["W"])
agree(dscores @ key @ general["W"].T, dquery)
agree(dscores.T @ query @ general["W"], dkey)

# %% [markdown]
# The library never builds J: the formula for dscores needs S numbers for each query and not S · S.

# %%
source(softmax_backward, bilinear.attend, bilinear.attend_backward)

# %% [markdown]
# ### Three errands
#
# Which score can do what? Each example is a memory of S = 8 random keys; eight queries ask for one key each.
#
# - **same language**: the query is the key it looks for, with some noise;
# - **other language**: the query is that key turned by a rotation, the same for all examples;
# - **place**: the query is one of eight signs that mean "the first", "the second", ..., whatever the key there may be.
#
# The values are the rows of the unit matrix, so the context is the row of weights; it should be 1 at the right key.
# Each mechanism has the same 600 updates and one seed; `dot` has nothing to learn.

# %%
S, D, A, UPDATES = 8, 16, 64, 600
errands = ("same language", "other language", "place")
rng = np.random.default_rng(0)
rotation, signs = np.linalg.qr(rng.normal(size=(D, D)))[0], rng.normal(size=(S, D))


def examples(errand, rng, B=32):
    key = rng.normal(size=(B, S, D))
    wanted = rng.permuted(np.tile(np.arange(S), (B, 1)), axis=1)  # (B, T)
    query = np.take_along_axis(key, wanted[..., None], axis=1)  # (B, T, D)
    if errand == "other language":
        query = query @ rotation
    if errand == "place":
        query = signs[wanted]
    query = query + 0.1 * rng.normal(size=query.shape)
    return query.astype(np.float32), key.astype(np.float32), wanted


def learn(op, params, errand):
    value, flat, rng = np.eye(S, dtype=np.float32), optim.Flat(params), np.random.default_rng(2)
    for update in range(UPDATES):
        query, key, wanted = examples(errand, rng)
        context, cache = op.forward(flat.params, query, key, value)  # (B, T, S)
        dcontext, _ = mse_backward(Loss(mean=float(S)), context, value[wanted])  # the mean over queries, not numbers
        _, dparams = op.backward(dcontext, cache)
        pace = optim.schedule(update, UPDATES, peak=1e-2, warm_up=20)
        flat.step(dparams, learning_rate=pace, max_norm=1.0)
    return flat.params


within = bind(local, reach=2.0)
mechanisms = {
    "dot": (dot, {}),
    "general": (bilinear, {"N": D, "D": D}),
    "concat": (concat, {"N": D, "D": D, "A": A}),
    "local": (within, {"N": D, "D": D, "A": A}),
}
right, learned = {}, {}
for errand in errands:
    for name, (op, size) in mechanisms.items():
        start = {part: array.astype(np.float32) for part, array in op.init(np.random.default_rng(1), **size).items()}
        learned[errand, name] = params = learn(op, start, errand) if start else start
        query, key, wanted = examples(errand, np.random.default_rng(3), B=256)
        context, _ = op.forward(params, query, key, np.eye(S, dtype=np.float32))
        right[errand, name] = (context.argmax(axis=-1) == wanted).mean()

# %%
figure, axes = plt.subplots(3, 4, figsize=(9.4, 7.2), layout="constrained")
for row, errand in zip(axes, errands, strict=True):
    query, key, wanted = examples(errand, np.random.default_rng(4), B=1)
    query = np.take_along_axis(query, wanted.argsort(axis=1)[..., None], axis=1)  # the first query asks for the first
    for ax, (name, (op, _)) in zip(row, mechanisms.items(), strict=True):
        context, cache = op.forward(learned[errand, name], query, key, np.eye(S, dtype=np.float32))
        title = f"{name}: {100 * right[errand, name]:.0f}% right"
        first, last = ax is row[0], ax in axes[-1]
        below, beside = "key" if last else None, f"{errand}\nquery" if first else None
        heatmap(cache.weights[0], ax=ax, vmax=1, cbar=name == "local", title=title, xlabel=below, ylabel=beside)
figure.suptitle("Same memory, same queries, four scores: the diagonal is right; a guess is right once in eight (12%)")
keep(figure, "07_three_errands")

# %% [markdown]
# - **dot** needs no training for its own language and is lost in another (with this rotation even worse than a guess,
#   which has one chance in eight): it has no place to keep a translation. That is why a Transformer gives queries and
#   keys a learned matrix each before it multiplies them (lesson 10); the two together are one W of general, of rank D
#   at most.
# - **general** wins both errands by content, and knows no places: the keys do not say where they stand.
# - **concat** finds about half, and more hidden features or more updates do not change that. *A surprise*, below,
#   says why it is half.
# - **local** has general's W inside, but where the content of a query tells nothing about a place, its window hides
#   most of the keys. It is the only one that can point at a place, and there it finds some of the eight and not
#   others. Where did its centres go?

# %%
_, cache = within.forward(learned["place", "local"], signs[None], np.zeros((1, S, D)), np.eye(S))
for place, centre in enumerate(S * cache.attended.share[0, :, 0]):
    print(f"asked for place {place}: looks around {centre:3.1f}")

# %% [markdown]
# Places that it does not find have their centre at an end of the memory, more than `reach` = 2 away. There the right
# key is outside the window, no gradient tells the centre to come back, and it stays. That is saturation once more, by
# a window instead of a softmax. Luong's window reaches 10 words to either side, and most of a sentence is in it.

# %% [markdown]
# ## A surprise
#
# Why does concat find half? Because of $\tanh(-x) = -\tanh(x)$. Turn query and key around, and with them everything
# inside the tanh; then the score turns around too:
#
# $$\text{score}(-q, -k) = -\,\text{score}(q, k), \qquad \text{where } \text{dot}(-q, -k) = \text{dot}(q, k).$$
#
# So if $q$ likes its own key best of all, then $-q$ likes $-k$ least of all, which is just the one it should find. Of a
# query among its keys and the same with every sign turned around, at most one can be right. Our keys are as likely as
# their negatives, so no W and no v, however large, get more than half.

# %%
params = learned["same language", "concat"]
query, key, wanted = examples("same language", np.random.default_rng(3), B=256)
found = []
for sign in (1, -1):
    context, _ = concat.forward(params, sign * query, sign * key, np.eye(S, dtype=np.float32))
    found.append(context.argmax(axis=-1) == wanted)
ahead, turned = found
both = (ahead & turned).mean()
print(f"right as they are {ahead.mean():.2f}, with all signs turned {turned.mean():.2f}, in both {both:.2f}")

# %% [markdown]
# One vector b inside the tanh breaks that law: `additive` is concat with b. The same updates, the same examples:

# %%
for errand in errands[:2]:
    start = additive.init(np.random.default_rng(1), N=D, D=D, A=A)
    params = learn(additive, {part: array.astype(np.float32) for part, array in start.items()}, errand)
    query, key, wanted = examples(errand, np.random.default_rng(3), B=256)
    context, _ = additive.forward(params, query, key, np.eye(S, dtype=np.float32))
    print(f"{errand}: {right[errand, 'concat']:.0%} without b, {(context.argmax(axis=-1) == wanted).mean():.0%} with b")

# %% [markdown]
# 64 numbers make the difference between half and nearly all. Luong and colleagues report that their concat, which has
# no b, did poorly. Whether this was the reason is not shown here: a network around it can supply what is missing,
# since a feature of query or key that is the same everywhere serves as a b.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** Random queries and keys with D = 4, 64 and 512 features, scores not scaled. By which factor does the
#    share of one key exceed that of another if their scores differ by one standard deviation of a score?
# 2. **By hand.** Somebody writes `dscores = weights * (1 - weights) * dweights`: the slope of each weight at its own
#    score. Take the weights (1/2, 1/2) and the gradients `dweights` (1, 1), then (1, 0). What comes out, and what
#    should?
# 3. **Predict.** Scores (T, S) = (1, 3), one query and three keys. By mistake the softmax runs over the first axis.
#    What are the weights? What would you have noticed with T = S?
# 4. **Mend.** `scores = query @ key.T / np.sqrt(len(key))`, with `key` (S, D). What is wrong, and for which sizes
#    does no test notice?
# 5. **Change.** In *Three errands* make the rotation a random matrix that is not a rotation, `rng.normal(size=(D, D)) /
#    np.sqrt(D)`. Does general still find the way?
# 6. **Predict.** Take the tanh out of concat, so that score = v · (Wᵀ [query, key]). How do the weights of two
#    different queries differ? No shape is wrong and no error is raised.
#
# <details><summary>Answers</summary>
#
# 1. The standard deviations are 2, 8 and 22.6, the factors $e^2 = 7.4$, $e^8 = 2981$ and $e^{22.6}$, more than six
#    thousand million. Divided by $\sqrt D$ the factor is $e = 2.7$ for all three. `minattn.plots.saturation(D=(4, 64,
#    512))` draws what becomes of entropy and gradient.
# 2. The wrong line gives (1/4, 1/4) and (1/4, 0); right is (0, 0) and (1/4, -1/4). If every weight is equally good,
#    there is nothing to gain: the weights cannot all grow. The Jacobian of a softmax is not diagonal, and its columns
#    sum to 0, so `dscores` always sums to 0.
# 3. All three are 1: each is alone in its column. The context is then the sum of the values and not their average. With
#    T = S the shapes tell nothing; the rows do not sum to 1, which is worth a check of its own.
# 4. It divides by the square root of S, how many keys there are, where it should be D, how many features they have:
#    `key.shape[-1]`. Where S = D in the test, nobody notices. Besides, the same query would look more blurred the
#    longer the memory is.
# 5. Nearly as well. To undo a matrix M, W has to be its inverse, and a random square matrix has one; but it squeezes
#    some directions, and there the noise drowns the key.
# 6. Not at all. The score is then one part that depends on the query plus one that depends on the key. The first is the
#    same number for every key, and softmax takes out what all scores have in common: the query is never heard.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Predict.** Queries and keys are random, and the scores are *not* divided by $\sqrt D$. What happens to the weights
# as D grows from 4 to 64 and 512?
#
# - a: nothing worth speaking of, softmax only looks at differences
# - b: they become more equal, the noise averages out
# - c: one of them takes nearly all, and hardly a gradient is left

# %%
### BEGIN SOLUTION
unscaled = "c"
### END SOLUTION
check.unscaled(unscaled)

# %% [markdown]
# **Write** the weights of scores at a temperature. At 1 they are those of a softmax; higher temperatures make them more
# equal, lower ones sharper. Mind the layout: the keys stand on the middle axis. `check.tempered.hint(1)` is there if you
# are stuck.


# %%
def tempered(scores, temperature):
    """scores (B, S, T), temperature > 0, a number -> weights (B, S, T): each query has its S weights in a column."""
    ### BEGIN SOLUTION weights
    peak = scores.max(axis=1, keepdims=True)  # (B, 1, T)
    shares = np.exp((scores - peak) / temperature)  # (B, S, T)
    return shares / shares.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %%
check.tempered(tempered)

# %% [markdown]
# **Write** its backward. Every query now has a temperature of its own, shared by all sequences of the batch; forward is
# given.


# %%
def tempered_scores(scores, temperature):
    """scores (B, T, S), temperature (T, 1) -> weights (B, T, S), cache."""
    scaled = scores / temperature
    shares = np.exp(scaled - scaled.real.max(axis=-1, keepdims=True))
    weights = shares / shares.sum(axis=-1, keepdims=True)
    return weights, (scores, temperature, weights)


def tempered_backward(dweights, cache):
    """dweights (B, T, S) -> dscores (B, T, S), dtemperature (T, 1)."""
    scores, temperature, weights = cache
    ### BEGIN SOLUTION dscores, dtemperature
    dscaled = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores = dscaled / temperature
    dtemperature = -(dscaled * scores / temperature**2).sum(axis=(0, 2))[:, None]
    return dscores, dtemperature
    ### END SOLUTION


# %%
check.tempered_backward(tempered_backward)

# %% [markdown]
# ## Read
#
# - Luong, Pham & Manning 2015, *Effective approaches to attention-based neural machine translation*, arXiv:1508.04025,
#   sections 3.1 and 3.2; section 5.3 compares the scores (not reproduced here).
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2.1: the division by $\sqrt{d_k}$,
#   and in its footnote the variance.
# - Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, section A.1.2: the additive score, which concat is without its bias.
# - Britz et al. 2017, *Massive exploration of neural machine translation architectures*, arXiv:1703.03906: additive and
#   dot-product attention trained side by side (not reproduced here).
