# %% [markdown]
# # 09 · Positions
#
# **You will be able to** show that attention does not know the order of what it looks at; put order in, in three ways:
# sinusoidal waves, rotary turns and the slopes of ALiBi; and say what each of them can tell apart and what it does
# beyond the length that it was trained on.
#
# *Needs lesson 01; the derivation needs sine and cosine. Thirty-five minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import optim, training, tree
from minattn.attention import dot
from minattn.classroom import agree, check, data, keep, source
from minattn.models import language_model
from minattn.op import bind
from minattn.plots import curves, positions
from minattn.plots.canvas import COLOURS
from minattn.positions import alibi, alibi_slopes, rotary, rotary_backward, sinusoidal

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Two sentences of the same words, and not of the same meaning. Each word is an arrow of two numbers, so that it can be
# drawn; which arrows they are does not matter here. Every word looks at all words of its sentence, and attention gives
# it an answer, again two numbers.
#
#     the dog bites the man
#     the man bites the dog
#
# **Predict.** A word has the same arrow wherever it stands, and it is query, key and value. Compare the answer that
# *dog* gets in the one sentence with its answer in the other, and the average of all five answers in the one with that
# in the other.
#
# - a: both differ, for who bites whom has changed
# - b: *dog* has other neighbours and another answer, but the averages are the same
# - c: both are the same

# %%
### BEGIN SOLUTION
order = "c"
### END SOLUTION
check.order(order)

# %%
words = {"the": (-0.6, -0.7), "dog": (1.2, 0.1), "bites": (0.1, 1.2), "man": (-1.0, 0.9)}
stories = "the dog bites the man".split(), "the man bites the dog".split()


def answers(sentence, places):
    x = np.array([words[word] for word in sentence]) + places  # (T, M)
    context, _ = dot.forward({}, 2 * x, x, x)  # (T, M)
    return context


T = len(stories[0])
figure, axes = plt.subplots(1, 2, figsize=(9.6, 5.4), sharex=True, sharey=True, layout="constrained")
for ax, places, title in zip(
    axes,
    (0.0, 0.6 * sinusoidal(T, 2)),
    ("without positions: one set of answers", "with positions: two sets"),
    strict=True,
):
    for i, (sentence, look) in enumerate(zip(stories, ({"s": 60}, {"s": 230, "facecolors": "none"}), strict=True)):
        context = answers(sentence, places)
        label = " ".join(sentence)
        ax.scatter(*context.T, edgecolors=COLOURS[i], linewidths=2, label=label, **{"facecolors": COLOURS[i]} | look)
        mean = context.mean(axis=0)
        ax.scatter(*mean, marker="*", edgecolors=COLOURS[i], **{"facecolors": COLOURS[i]} | look)
        for word, place in zip(sentence, context, strict=True):
            if i == 0 or np.any(places):
                shift = (9, 9) if i == 0 else (9, -16)
                ax.annotate(word, place, shift, textcoords="offset points", color=COLOURS[i])
    ax.set(title=title, xlabel="first feature of the answer")
    ax.margins(0.12)
axes[0].set_ylabel("second feature of the answer")
names = axes[0].get_legend_handles_labels()
figure.legend(*names, loc="outside lower center", ncols=2, title="a point for each word; star: the average of the five")
figure.suptitle("Who bites whom? Attention sees a bag of words")
keep(figure, "09_bag_of_words")

# %% [markdown]
# On the left every ring lies on a dot. The dog that bites and the dog that is bitten get the same answer, the two *the*
# lie on one point, and so do the averages. No sum, average or largest of these answers can tell the stories apart. On
# the right a wave that knows the place was added to each word first, and no ring has a dot in its centre.
#
# **What breaks without positions.** A task that is all order: repeat the letter from two steps ago. There are 16
# letters, drawn at random, so the answer is nowhere but in its place.
#
#     reads     c  a  f  f  b  d  a
#     answers         c  a  f  f  b
#
# Four small models of one layer, equal but for their positions, learn it on 16 letters, in 300 updates, and are then
# asked on 64; each from three different starts. (They see the past alone, as in lesson 08.)

# %%
kinds = {"none": None, "sinusoidal": "sinusoidal", "rotary": "rotary", "ALiBi": "alibi"}
V, short, long = 16, 16, 64


def two_back(rng, B, T):
    tokens = rng.integers(V, size=(B, T))  # (B, T)
    targets = np.full((B, T), -1)  # (B, T)  -1: not counted
    targets[:, 2:] = tokens[:, :-2]
    return tokens, targets


right, chance = {}, 1 / V
for name, kind in kinds.items():
    op = bind(language_model, positions=kind, activation="gelu_tanh")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        params = language_model.init(rng, V=V, M=32, H=2, L=1, F=64, tied=False)
        flat = optim.Flat(tree.astype(params, np.float32))
        for update in range(300):
            tokens, targets = two_back(rng, 32, short)
            _, dparams = training.gradients(op, flat.params, (tokens,), targets, ignore_index=-1)
            flat.step(dparams, learning_rate=optim.schedule(update, 300, peak=1e-2, warm_up=20), max_norm=1.0)
        tokens, targets = two_back(np.random.default_rng(9), 300, long)
        logits, _ = op.forward(flat.params, tokens)  # (B, T, V)
        each = (logits.argmax(axis=-1) == targets)[:, 2:].mean(axis=0)  # (T - 2,)
        right.setdefault(name, []).append(each)

print(f"{'right':<12}{'within 16':>10}{'17 to 64':>10}      three seeds, 17 to 64")
for name, each in right.items():
    near, far = (np.mean(each, axis=0)[part].mean() for part in (slice(0, short - 2), slice(short - 2, None)))
    print(f"{name:<12}{near:>10.0%}{far:>10.0%}     ", *(f"{seed[short - 2 :].mean():.0%}" for seed in each))

# %%
ax = curves(
    {name: np.mean(each, axis=0) for name, each in right.items()},
    np.arange(3, long + 1),
    title="Repeat the letter from two steps ago: who can count, and how far",
    xlabel="place in the sequence (letters)",
    ylabel="right, mean of three seeds",
    ylim=(0, 1.05),
    percent=True,
)
ax.axvline(short + 0.5, color="black", linewidth=1)
ax.text(24, 0.9, "longer than anything in training", va="center")
ax.axhline(chance, color="black", linewidth=1, linestyle=":")
ax.text(1.2, chance - 0.01, "blind guess", va="top")
keep(ax, "09_two_back")

# %% [markdown]
# Without positions a model guesses among the letters that it has seen: better than blindly as long as there are few of
# them. **Sinusoidal** and **rotary** positions learn the task perfectly, on places they were trained on. Beyond them
# the waves are lost within a few steps; rotary holds out longer, and how long depends on the seed. **ALiBi** does not
# learn it: it knows *nearer* and *farther*, and one layer of it finds no way to say *exactly two*. But what it does
# know does not end at 16.

# %% [markdown]
# ## Compute
#
# **The bag.** Take $x = (0, 1, 2)$ as query, key and value, all steps see each other: the contexts are 1, 1.575, 1.851
# (lesson 08 has the sums). Put the same numbers in another order, $x = (2, 0, 1)$: each still asks the same question of
# the same set of values. The answers are the same, in the other order: 1.851, 1, 1.575.

# %%
for x in ([0.0, 1.0, 2.0], [2.0, 0.0, 1.0]):
    column = np.array(x)[:, None]  # (T, 1)
    context, _ = dot.forward({}, column, column, column)
    print("x", np.array(x), "context", context[:, 0])

# %% [markdown]
# **Three ways out.** Three places, 0, 1 and 2, and only two features, so that there is a single wave:
#
# | | what it does with place t | what two places at distance 0, 1, 2 have to do with each other |
# |---|---|---|
# | sinusoidal | adds (sin t, cos t) to the vector | dot product 1, 0.540, -0.416: the cosine of the distance |
# | rotary | turns query and key by the angle t | dot product of equal arrows of length 1: 1, 0.540, -0.416 |
# | ALiBi, slope 1/2 | adds nothing to the vector | score lower by 0, 0.5, 1 |
#
# The last one to the end: three tokens that are all alike have equal scores, say 0. The third step sees them under
# ALiBi at -1, -0.5, 0; e to that is 0.368, 0.607, 1, together 1.975; the weights are 0.186, 0.307, 0.506. Without ALiBi
# each would have a third.

# %%
waves = sinusoidal(3, 2)  # (T, M)
print("sinusoidal", waves[0] @ waves.T)

equal = np.tile([1.0, 0.0], (3, 1))  # (T, D)
turned = rotary(equal)  # (T, D)
print("rotary    ", turned[0] @ turned.T)

bias = alibi(8, 3, 3)[0]  # (T, S)  of the first of 8 heads: its slope is 1/2
zero = np.zeros((3, 1))
_, cache = dot.forward({}, zero, zero, zero, bias)
print("ALiBi     ", bias[2] + 0.0, "-> weights", cache.weights[2])

# %% [markdown]
# *You can go on to lesson 10 from here. What follows proves that attention sees a set, and that waves and turns depend
# on the distance of two places alone.*

# %% [markdown]
# ## Derive
#
# **A set.** Let $P$ put rows into another order. The scores of $Px$ are $Px\,(Px)^\top = P\,(x x^\top)\,P^\top$: the
# same table with rows and columns in the other order. Softmax works on each row alone and does not mind the order
# within it, so the weights are $P\,\text{weights}\,P^\top$, and
#
# $$\text{context}(Px) = P\,\text{weights}\,P^\top P\,x = P\;\text{context}(x)$$
#
# since $P^\top P = 1$. This is called *permutation equivariance*. Projections, norms and everything else that treats
# each row alone keep it, so that a stack of layers has it too. Only something that differs from row to row can break
# it.
#
# **Sinusoidal.** Feature pair $i$ of M features is a wave of its own length, $\omega_i = 10000^{-2i/M}$:
#
# $$p_t = (\sin \omega_0 t,\; \cos \omega_0 t,\; \sin \omega_1 t,\; \cos \omega_1 t,\; \dots) \qquad
#   p_t \cdot p_s = \sum_i \cos\big(\omega_i (t - s)\big)$$
#
# by $\cos(a - b) = \sin a \sin b + \cos a \cos b$. But $p$ is *added* to the embedding $e$, and a score of sums has
# four parts: $(e_t + p_t) \cdot (e_s + p_s) = e_t e_s + e_t p_s + p_t e_s + p_t p_s$. Only the last is free of absolute
# places, and learned projections stand between.
#
# **Rotary.** Multiply instead: turn pair $i$ of every query and key by the angle $\omega_i t$. A turn $R_t$ changes no
# length, and turning one arrow by $t$ and another by $s$ leaves between them what turning one of them by $s - t$ would:
#
# $$(R_t\, q) \cdot (R_s\, k) = q^\top R_t^\top R_s\, k = q \cdot (R_{s-t}\; k)$$
#
# The score depends on $s - t$ and on nothing else about the places. **Backward** needs no new formula: the gradient of
# a turn is the turn the other way, $dq = R_t^\top\, \text{dturned} = R_{-t}\, \text{dturned}$.
#
# **ALiBi** (attention with linear biases) adds $-m_h\,|t - s|$ to the scores of head h, with fixed slopes
# $m_h = 2^{-8h/H}$, h = 1 .. H. Nothing is learned, so there is nothing to derive: a constant has no gradient. What is
# $1/2$ a step to one head is $1/256$ a step to another, so one looks at its neighbours and another far back.

# %%
T, M, H = 48, 64, 8
distance = np.arange(0, 65)
figure, axes = plt.subplots(2, 2, figsize=(10.0, 7.6), layout="constrained")
positions("sinusoidal", T=T, M=M, ax=axes[0, 0], title="sinusoidal: one row is added to each token")

table = sinusoidal(65, M)
axes[0, 1].plot(distance, table @ table[0], color=COLOURS[0])
axes[0, 1].set_title("sinusoidal: dot product of two places")
axes[0, 1].set_ylabel("dot product")

one = rotary(np.ones((65, M)))  # (T, D)  the same arrow at every place
for i, dash in zip((0, 8, 16), ("-", "--", "-."), strict=True):
    pair = one[:, 2 * i : 2 * i + 2]
    axes[1, 0].plot(distance, pair @ pair[0] / 2, dash, color=COLOURS[i // 8], label=f"pair {i}")
axes[1, 0].set(title="rotary: what a pair's part of the score becomes", ylim=(-1.1, 1.5))
axes[1, 0].set_ylabel("factor, for equal query and key")
axes[1, 0].legend(loc="upper center", ncols=3)

for i, (h, dash) in enumerate(zip((0, 1, 2, 4, 7), ("-", "--", "-.", ":", "-"), strict=True)):
    axes[1, 1].plot(distance, alibi(H, 65, 65)[h, 0], dash, color=COLOURS[i], label=f"head {h}")
axes[1, 1].set_title("ALiBi: what is added to the score")
axes[1, 1].set_ylabel("bias")
axes[1, 1].legend(loc="lower left")
for ax in axes.flat[1:]:
    ax.set_xlabel("distance (steps)")
    ax.axhline(0, color="black", linewidth=0.6)
keep(figure, "09_score_and_distance")

# %% [markdown]
# The fast waves tell neighbours apart and are soon back where they were; slower ones tell the beginning of a sentence
# from its end; the slowest hardly move here. The second picture sums all of them: high at small distances, then lower,
# with ripples. ALiBi has no ripples.

# %% [markdown]
# ## Equal to the library
#
# The claims of the derivation, one after the other: the set, the sum of cosines, the turn by complex numbers, the
# distance alone, and the way back.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(2, 6, 8))  # (B, T, D)
order = rng.permutation(6)

context, _ = dot.forward({}, x, x, x)
mixed, _ = dot.forward({}, x[:, order], x[:, order], x[:, order])
agree(mixed, context[:, order])  # the same rows, in the other order

places, omega = np.arange(6), 10000.0 ** (-2 * np.arange(4) / 8)  # (T,), (M / 2,)
apart = places[:, None] - places  # (T, T)
waves = sinusoidal(6, 8)
agree(waves @ waves.T, np.cos(apart[..., None] * omega).sum(axis=-1))

numbers = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * places[:, None] * omega)  # (B, T, D / 2)  pairs as numbers
by_hand = np.stack([numbers.real, numbers.imag], axis=-1).reshape(x.shape)  # (B, T, D)
agree(rotary(x), by_hand)

query, key = rng.normal(size=(2, 6, 8)), rng.normal(size=(2, 6, 8))
here = rotary(query) @ rotary(key).mT  # (B, T, S)
there = rotary(query, offset=100) @ rotary(key, offset=100).mT  # the same, 100 steps further on
agree(there, here)

dturned = rng.normal(size=x.shape)
agree(rotary_backward(rotary(x), x), x)  # back again
agree(np.sum(rotary(query) * dturned), np.sum(query * rotary_backward(dturned, query)))
agree(alibi(8, 6, 6), -alibi_slopes(8)[:, None, None] * np.abs(apart))

# %% [markdown]
# The line before the last is the whole gradient check: a turn is linear, and the gradient of a linear map is its
# transpose, the one map for which both products agree, whatever `query` and `dturned` are. This is the library's code:

# %%
source(sinusoidal, rotary, rotary_backward, alibi)

# %% [markdown]
# `offset` is the place of the first row. A model that writes looks at one new step at a time; without the offset each
# new step would believe that it is the first.

# %% [markdown]
# ## Longer than in training
#
# Repeating from two steps ago is a task for counters. Text is another matter: what stood far back matters little, and
# what stood nearby much. Four language models of two layers were trained on pieces of 32 letters of the Python manual,
# 700 updates, three seeds for each kind of positions, and then read 128 letters of topics they had not seen
# (`lessons/data/make_09_lengths.py`, about two minutes).

# %%
measured = data("09_lengths.json")
trained_on, together = measured["trained on"], measured["together"]
losses = {name: np.array(each) for name, each in measured["losses"].items()}  # (seeds, places)
until = trained_on // together
print(f"{'nats a letter':<14}{'1 to 32':>8}{'33 to 64':>10}{'65 to 128':>11}")
for name, each in losses.items():
    first, second, rest = each[:, :until].mean(), each[:, until : 2 * until].mean(), each[:, 2 * until :].mean()
    print(f"{name:<14}{first:>8.2f}{second:>10.2f}{rest:>11.2f}")

# %%
figure, ax = plt.subplots(figsize=(7.4, 4.4), layout="constrained")
x = (np.arange(losses["none"].shape[1]) + 0.5) * together
curves(
    {name: each.mean(axis=0) for name, each in losses.items()},
    x,
    ax=ax,
    title="Trained on 32 letters, reading 128 (band: from the best to the worst of three seeds)",
    xlabel="place in the text (letters)",
    ylabel="loss on unseen text (nats a letter)",
)
for i, each in enumerate(losses.values()):
    ax.fill_between(x, each.min(axis=0), each.max(axis=0), color=COLOURS[i], alpha=0.2, linewidth=0)
ax.axvline(trained_on, color="black", linewidth=1)
ax.title.set_size("medium")
keep(figure, "09_longer")

# %% [markdown]
# Within the 32 letters rotary positions are the best, and having none is the worst. Beyond, that changes. A sinusoidal
# vector of place 40 is something the layers have never met, and the loss rises at once above that of the model without
# positions. Rotary keeps its lead for a while, since at place 40 most distances are still short ones that it knows; but
# the long ones take more and more of the attention, and in the end it is worse than none too. To ALiBi a distance of 60
# is like one of 30, only less important, and its loss stays where it was. That is what its paper promises. It is not
# the last word on which is best: these are tiny models, one text and one length, and rotary models have been stretched
# to longer texts by slower turns and a little more training (Chen et al. 2023, arXiv:2306.15595; not reproduced here).

# %% [markdown]
# ## A surprise
#
# The model *without* positions has a loss far below that of guessing blindly, on text, which is all order. Partly that
# is the letter that a step stands on itself. But there is something else: a causal mask treats the steps differently.
# The second sees two letters, the third sees three. Is that enough to see order? Swap the first two letters of six, and
# look at what a fresh model without positions says after the last:

# %%
tokens = np.array([[3, 1, 4, 5, 9, 2]])  # (B, T)
swapped = tokens[:, [1, 0, 2, 3, 4, 5]]
for L in (1, 2):
    params = language_model.init(np.random.default_rng(0), V=10, M=16, H=2, L=L, tied=False)
    one, two = (language_model.forward(params, ids)[0][0, -1] for ids in (tokens, swapped))
    print(f"{L} layer{'s' if L > 1 else ''}: the logits after the last letter", end=" ")
    print(
        "are the same" if np.allclose(one, two, rtol=0, atol=1e-12) else f"move by up to {np.abs(one - two).max():.2f}"
    )

# %% [markdown]
# One layer sees a bag: the last step looks at the same set of letters both times. Two layers do not. In the first layer
# the second step looked at itself and the first, and the first at itself alone, so their answers know which of the two
# came first; the second layer looks at those answers. A causal mask is itself a weak kind of position, and causal
# language models have been trained without any other (Haviv et al. 2022; Kazemnejad et al. 2023).

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** A classifier takes the average of all contexts of a layer without positions and without a mask. Can it
#    learn whether "not" stands before "good" or after it?
# 2. **By hand.** Two features, one wave. Which place other than 0 has nearly the same sinusoidal vector as place 0? Why
#    does it need more than one wave?
# 3. **Predict.** Values are not turned in rotary attention, only queries and keys. What would be lost if they were?
# 4. **Predict.** A text is being written, and its last query is asked alone while the S keys are kept. What does
#    `alibi(H, 1, S)` do to it, where `offset` was forgotten?
# 5. **Mend.** Somebody writes letter by letter and calls `rotary(query)` with the one new query, (1, D), and keys that
#    were turned when they came. The first letter is right, and after that it gets worse. What is missing?
#
# <details><summary>Answers</summary>
#
# 1. No. The contexts are the same set in any order, and an average does not see order either. With a bag of words it
#    can learn that both are there.
# 2. A full turn is 2 π = 6.28, so places 6 and 44 (7 · 6.28 = 43.98) come close, and 710 (113 turns, 709.9999) closer
#    still. Further waves of other lengths are elsewhere by then: together they repeat only after a very long time.
# 3. The context would be a sum of values turned by absolute places: the answer would change when the whole sentence
#    moves, which the scores had been freed from. (Turning the context of step t back by t would free it again.)
# 4. Without `offset=S - 1` the query counts as place 0: the farthest key gets no bias at all, and the query's own place
#    gets the strongest.
# 5. The query's place: `rotary(query, offset=t)`. Without it every query believes that it stands at place 0, and
#    distances grow wrong by one with every letter.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** a bias for text that is read in both directions. It is like ALiBi's, but each head has two slopes: for every
# step that a key lies in the past of the query its score falls by the first, for every step that it lies in the future
# by the second. The keys stand at the places 0 .. S - 1, the queries at offset .. offset + T - 1. At a query's own
# place nothing is lost. `check.distance_bias.hint(1)` is there if you are stuck.


# %%
def distance_bias(slopes, T, S, offset):
    """slopes (H, 2), of past and future, none below 0; T, S, offset, whole numbers -> bias (H, T, S)."""
    ### BEGIN SOLUTION
    stands = offset + np.arange(T)  # (T,)
    ahead = np.arange(S) - stands[:, None]  # (T, S)  below 0 in the past
    slope = np.where(ahead > 0, slopes[:, 1, None, None], slopes[:, 0, None, None])  # (H, T, S)
    return -slope * np.abs(ahead)
    ### END SOLUTION


# %%
check.distance_bias(distance_bias)

# %% [markdown]
# ## Read
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.5: the waves.
# - Su et al. 2021, *RoFormer*, arXiv:2104.09864, section 3.2 and equation 34: rotary positions.
# - Press, Smith & Lewis 2022, *Train short, test long*, arXiv:2108.12409, section 3: ALiBi; figure 1 is the large
#   relative of our last figure.
# - Haviv et al. 2022, arXiv:2203.16634, and Kazemnejad et al. 2023, arXiv:2305.19466: causal models without positions.
