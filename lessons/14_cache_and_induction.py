# %% [markdown]
# # 14 · KV cache and induction heads
#
# **You will be able to** say which numbers of a language model never change once they are computed, and count what it
# saves to keep them; name the two heads that together copy from what was read before; and test whether a stripe in an
# attention map means that they are there.
#
# *Needs lessons 08 (masks), 09 (rotary positions), 10 (heads) and 13 (a language model). Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import tree
from minattn.attention import multihead
from minattn.classroom import agree, check, data, keep, source
from minattn.functions import log_softmax, softmax
from minattn.masks import causal
from minattn.models import block, language_model
from minattn.op import bind
from minattn.plots import curves, heatmap
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Here are 24 random letters, and then the same 24 again. While they come for the first time nobody can guess the next
# one. The second time anybody can who looks back: find the letter that stands here now where it stood before, and say
# what came after it.
#
# Two language models were trained on nothing else: random blocks of 12 to 24 letters, over and over. They differ in one
# thing, one has one layer and the other has two. They are as small as can be: the blocks have attention and no
# feed-forward part. `lessons/data/make_14_induction.py` trained them, three seeds of each, in a few minutes.

# %%
weights, about = data("14_induction.npz")
weights = tree.astype(weights, np.float32)
model = bind(language_model, positions="rotary", activation="relu")
V, T, PERIOD = about["V"], about["T"], about["period"]
SYMBOLS = "abcdefghijklmnopqrstuvwxyz012345"  # V = 32


def repeated(rng, B, period):
    """B sequences (B, T), each a block of random tokens over and over."""
    return np.stack([np.resize(rng.integers(V, size=period), T) for _ in range(B)])


def surprise(params, tokens):
    """-> the loss at each place, nats, mean over the sequences (T - 1,), and the cache."""
    logits, cache = model.forward(params, tokens[:, :-1])
    return -np.take_along_axis(log_softmax(logits), tokens[:, 1:, None], -1)[..., 0].mean(axis=0), cache


def stripe(maps, period):
    """maps (B, H, T, T) -> for each head (H,): the weight on the place after the earlier copy, mean over the second time."""
    later = np.arange(period, T - 1)
    return maps[:, :, later, later - (period - 1)].mean(axis=(0, 2))


tokens = repeated(np.random.default_rng(5), 64, PERIOD)
text = "".join(SYMBOLS[i] for i in tokens[0])
print(text[:PERIOD], text[PERIOD:])

chosen, losses = {}, {}
for name in ("one layer", "two layers"):
    losses[name], cache = surprise(weights[name], tokens)
    last = cache.weights[-1]  # (B, H, T, T)
    best = stripe(last, PERIOD).argmax()
    chosen[name] = last[0, best]  # (T, T)
    print(f"{name:10}  weight on the stripe, head by head: {stripe(last, PERIOD).round(2)}")

figure, axes = plt.subplot_mosaic(
    [["one layer", "two layers"], ["loss", "loss"]], figsize=(9.5, 8.6), height_ratios=[3, 2], layout="constrained"
)
for name, seen in chosen.items():
    heatmap(
        seen,
        text[:-1],
        text[:-1],
        ax=axes[name],
        vmax=1,
        title=f"{name}, its most striped head",
        xlabel="letter that is looked at",
        ylabel="letter that looks",
        cbar=name == "two layers",
    )
curves(
    losses,
    np.arange(1, T),
    ax=axes["loss"],
    title="Only the model with the stripe knows the letters the second time",
    xlabel="place of the letter that is guessed",
    ylabel="loss (nats)",
    ylim=(0, None),
)
axes["loss"].axhline(np.log(V), color="#888888", linewidth=1)
axes["loss"].text(
    1.01, np.log(V), "guessing:\nlog 32", va="center", color="#555555", transform=axes["loss"].get_yaxis_transform()
)
axes["loss"].axvline(PERIOD, color="#888888", linewidth=1, linestyle=":")
axes["loss"].text(PERIOD + 2.5, 1.3, "from here on the letters\nhave all come before", color="#555555")
figure.suptitle("The stripe that two layers have and one does not")
keep(figure, "14_stripe")

# %% [markdown]
# In the lower half of the right map there is a stripe: nearly every letter looks at the place 23 steps back, where the
# letter stands that followed its earlier copy. A head that does this is called an **induction head**. Where the letters
# begin to come again the loss of two layers falls to little more than nothing, and that of one layer does not.
#
# (Late in the first time round both do worse than plain guessing would. Most of the blocks that they were trained on
# are shorter than 24, so they expect letters to come again that do not.)

# %%
kept = data("14_induction.json")
updates = kept["every"] * np.arange(len(kept["losses"]["two layers"][0]))

figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
for name, colour, line in (("one layer", COLOURS[1], "--"), ("two layers", COLOURS[0], "-")):
    for seed, losses in enumerate(kept["losses"][name]):
        again = np.array(losses)[:, PERIOD:].mean(axis=1)  # where letters come for the second time, and can be known
        ax.plot(updates, again, line, color=colour, label=name if seed == 0 else None)
        print(f"{name:10}  seed {seed}: loss the second time {again[-1]:.2f}")
ax.axhline(np.log(V), color="#888888", linewidth=1)
ax.text(updates[-1], np.log(V) + 0.04, "guessing: log 32", ha="right", color="#555555")
ax.set(
    title="Two layers learn it all of a sudden, one layer never: three seeds of each",
    xlabel="updates",
    ylabel="loss the second time (nats)",
    ylim=(0, None),
)
ax.legend()
keep(figure, "14_sudden")

# %% [markdown]
# One layer gets a little below guessing: it sees which letters are in the block and which are not, but never their
# order.

# %% [markdown]
# ## Compute
#
# **How two layers copy.** Four letters, A B C A: what comes next? Let a row of the model have two halves, one for the
# letter that stands there and one that is still empty.
#
# *Layer 1* has a head that looks one place back, whatever stands there: a **previous-token head**. It copies the letter
# from there into the empty half. *Layer 2* has the induction head: its query is the letter here, its key is the letter
# *before*, its value is the letter there. With scores of 3 where key and query are the same letter and 0 elsewhere:
#
# | place | letter | letter before (layer 1) | key | score of the last A's query | e to that | weight | value |
# |---|---|---|---|---|---|---|---|
# | 0 | A | none | none | 0 | 1 | 0.043 | A |
# | 1 | B | A | A | **3** | 20.09 | **0.870** | **B** |
# | 2 | C | B | B | 0 | 1 | 0.043 | C |
# | 3 | A | C | C | 0 | 1 | 0.043 | A |
# | sum | | | | | 23.09 | 1 | |
#
# The head says B with a weight of 0.87. One layer cannot do this: its keys are made from what stands at their own
# place, so the A of the query can find the earlier A, and the letter after it is out of reach. The same in NumPy:

# %%
letters = np.eye(3)[[0, 1, 2, 0]]  # (T, 3)  A B C A
back_one = np.eye(4, k=-1)  # (T, T)  the weights of the previous-token head; the first place looks at nothing
before = back_one @ letters  # (T, 3)  layer 1: the letter before each
scores = 3 * letters @ before.T  # (T, T)  layer 2
looks = softmax(scores, np.tri(4, dtype=bool))  # (T, T)
print("the last row looks at", looks[-1])
print("and says A, B, C with", looks[-1] @ letters)

# %% [markdown]
# **What need not be computed again.** A language model writes a letter, takes it as its next input, writes another.
# Written plainly, each step reads the whole text so far once more. But a step looks only back, so the rows of earlier
# steps come out as they did the last time, and with them their keys and values. Keep those, the **KV cache**, and a
# step costs one row:
#
# | step | rows made into keys and values, plainly | with a cache | scores, plainly | with a cache |
# |---|---|---|---|---|
# | 1 | 1 | 1 | 1 | 1 |
# | 2 | 2 | 1 | 3 | 2 |
# | 3 | 3 | 1 | 6 | 3 |
# | sum | 6 | 3 | 10 | 6 |
#
# For T steps the rows are $T (T + 1) / 2$ against T: the square of the length against the length. For T = 1000, that is
# half a million against a thousand.

# %%
for steps in (3, 100, 1000):
    t = np.arange(1, steps + 1)
    print(
        f"T = {steps:4}: rows {t.sum():9,} against {steps:5,}, scores {(t * (t + 1) // 2).sum():11,} against {t.sum():7,}"
    )

# %% [markdown]
# *You can go on to lesson 15 from here. What follows writes the cache down, counts everything, and takes the heads
# apart.*

# %% [markdown]
# ## Derive
#
# Row t of a causal layer is
#
# $$\text{context}_t = \sum_{s \le t} \text{weight}_{ts}\, \text{value}_s, \qquad
#   \text{weight}_{ts} = \frac{e^{\text{query}_t \cdot \text{key}_s / \sqrt D}}
#   {\sum_{j \le t} e^{\text{query}_t \cdot \text{key}_j / \sqrt D}}$$
#
# and nothing in it is later than t. If the rows of the layer below depend on their own past alone, then so do these,
# and by going up layer by layer so do all. A new token therefore changes no earlier row, hence no earlier key or
# value. It needs the earlier keys and values, and never the earlier queries: that is why the cache has two letters.
#
# What a new token at place t costs in multiplications, for each layer of H heads with G heads of keys and values
# (lesson 10), D = E numbers each and F features inside the feed-forward part:
#
# $$\underbrace{M H D + 2 M G D + H D M + 2 M F}_{\text{one row through the weights}}
#   \;+\; \underbrace{2\, H D\, (t + 1)}_{\text{scores and values of all places so far}}$$
#
# Plainly it is all rows from 0 to t, every time. What the cache costs in its turn is memory: for each token
# $2 L G D$ numbers. With G smaller than H it is smaller by H / G, which is what grouped queries are for.


# %%
def multiplications(steps, *, M, H, D, G, F, L, cached):
    t = np.arange(steps)  # the place of each new token
    row = M * H * D + 2 * M * G * D + H * D * M + 2 * M * F
    looks = 2 * H * D * (t + 1)  # of the row at place t
    each = L * (row + looks)  # of one row
    return np.cumsum(each if cached else np.cumsum(each))  # plainly, a step does all rows up to its own


sizes = {"M": 512, "H": 8, "D": 64, "G": 8, "F": 2048, "L": 8}
lengths = 2 ** np.arange(1, 13)
plainly, cached = (multiplications(4096, **sizes, cached=each)[lengths - 1] for each in (False, True))

figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
curves(
    {"everything again": plainly, "with a KV cache": cached},
    lengths,
    ax=ax,
    xlabel="tokens written, T",
    ylabel="multiplications in all",
    title="Writing T tokens: the longer the text, the more a cache saves",
)
ax.set(xscale="log", yscale="log", xticks=lengths[1::2], xticklabels=lengths[1::2])
ax.minorticks_off()
keep(figure, "14_multiplications")

for length in (16, 256, 4096):
    i = list(lengths).index(length)
    print(
        f"T = {length:4}: {plainly[i]:.1e} against {cached[i]:.1e} multiplications, {plainly[i] / cached[i]:.0f} times as many"
    )

# %% [markdown]
# ## Equal to the library
#
# Multi-head attention with a cache, from its formula: one row at a time, with two lists that grow.


# %%
def with_cache(params, x):
    """x (T, M) -> (T, M): causal self-attention, one step after the other."""
    keys, values, out = [], [], []
    for row in x:
        query = np.einsum("m,mhd->hd", row, params["W_query"]) + params["b_query"]  # (H, D)
        keys.append(np.einsum("m,mhd->hd", row, params["W_key"]) + params["b_key"])  # (H, D), kept
        values.append(np.einsum("m,mhd->hd", row, params["W_value"]) + params["b_value"])  # (H, D), kept
        scores = np.einsum("hd,shd->hs", query, keys) / np.sqrt(query.shape[-1])  # (H, S)  S: steps so far
        context = np.einsum("hs,shd->hd", softmax(scores), values)  # (H, D)
        out.append(np.einsum("hd,hdm->m", context, params["W_out"]) + params["b_out"])  # (M,)
    return np.stack(out)


rng = np.random.default_rng(0)
params = multihead.init(rng, M=8, H=2)
x = rng.normal(size=(6, 8))
theirs, _ = multihead.forward(params, x, x, x, mask=causal())
agree(with_cache(params, x), theirs)

# %% [markdown]
# The whole model: `language_model.advance` takes new tokens and the cache, called `past`, and returns the logits and
# the grown cache. One token at a time gives what the full forward gives for all.

# %%
exact = tree.astype(weights["two layers"], np.float64)
logits, _ = model.forward(exact, tokens[:4])  # (B, T, V)

past, one_by_one = None, []
for t in range(T):
    new, past = model.advance(exact, tokens[:4, t : t + 1], past)  # (B, 1, V)
    one_by_one.append(new)
agree(np.concatenate(one_by_one, axis=1), logits)

# %% [markdown]
# And writing: `language_model.generate` keeps the cache, the loop below does everything again. The prompt is a block
# and the first letters of its repetition; the model goes on by itself.

# %%
prompt = tokens[:1, : PERIOD + 4]
plain = prompt
while plain.shape[1] < T:
    logits, _ = model.forward(exact, plain)  # (1, t, V)
    plain = np.concatenate([plain, logits[:, -1:].argmax(axis=-1)], axis=1)  # (1, t + 1)
agree(plain, model.generate(exact, prompt, steps=T - prompt.shape[1]))

wrote = "".join(SYMBOLS[i] for i in plain[0])
print("prompt", wrote[:PERIOD], wrote[PERIOD : PERIOD + 4])
print("writes", " " * PERIOD, " " * 4 + wrote[PERIOD + 4 :])
print(f"{(plain == tokens[:1])[0, PERIOD + 4 :].sum()} of {T - PERIOD - 4} letters are those of the first time")

# %% [markdown]
# The memory of the cache, read off the arrays that it holds:

# %%
for G in (8, 2, 1):
    grouped = tree.astype(language_model.init(rng, V=V, M=64, H=8, G=G, L=2), np.float32)
    _, past = language_model.advance(grouped, tokens[:1], None, positions="rotary")
    size = sum(leaf.nbytes for _, leaf in tree.leaves(past))
    formula = 2 * 2 * G * (64 // 8) * T * 4  # 2 L G D T numbers of 4 bytes
    print(
        f"H = 8, G = {G}: keys {past[0].key.shape} in each layer, {size:6,} bytes in all; by the formula {formula:6,}"
    )

# %% [markdown]
# The library's own code: a new token through the model, and through one block. (`generate` takes a faster form of the
# same for all its tokens, `minattn.models.stepping`, where the cache has its full size from the start.)

# %%
source(language_model.advance, block.advance)

# %% [markdown]
# ## The heads apart
#
# Is it the two kinds of heads that do the work? Look at the maps of layer 0 for a weight on the place just before,
# and at those of layer 1 for the stripe. Then switch heads off, by setting their part of `W_out` to zero, and see
# what the second time costs.

# %%
two = weights["two layers"]
_, cache = surprise(two, tokens)
later = np.arange(PERIOD, T - 1)
just_before = cache.weights[0][:, :, later, later - 1].mean(axis=(0, 2))  # (H,)
print("layer 0, weight on the place just before:", just_before.round(2))
print("layer 1, weight on the stripe:           ", stripe(cache.weights[1], PERIOD).round(2), "\n")


def without(params, layer, heads):
    """The model with some heads of one layer switched off."""
    changed = tree.map(np.copy, params)
    changed["blocks"][layer]["look"]["W_out"][heads] = 0
    return changed


every = [0, 1, 2, 3]
cases = {"whole": two, "layer 0 off": without(two, "0", every), "layer 1 off": without(two, "1", every)}
cases |= {f"layer {layer}, head {head} off": without(two, str(layer), [head]) for layer in (0, 1) for head in every}
for name, changed in cases.items():
    print(f"{name:19} loss the second time {surprise(changed, tokens)[0][PERIOD:].mean():.1f}")

# %% [markdown]
# Without layer 0 the second layer is as good as gone, although nothing in it has changed: its keys are no longer made
# from "the letter before". But not all of layer 0 is a previous-token head: head 2 has 0.08 there (it looks mostly at
# its own place), and is needed. The heads share the work, some more and some less, so that switching off one is not
# the same as switching off all. To be sure that a head does something, switch it off; to be sure that it is the whole
# story, switch off the others.

# %% [markdown]
# ## A surprise
#
# A third model, with *one* layer, was trained on blocks that always have 24 letters. Here is its most striped head,
# first on a block of 24 letters and then on one of 18, which it has never met.

# %%
fixed = weights["one layer, fixed"]
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.6), layout="constrained")
_, cache = surprise(fixed, tokens)
head = stripe(cache.weights[0], PERIOD).argmax()
for ax, period in zip(axes, (24, 18), strict=True):
    others = repeated(np.random.default_rng(6), 64, period)
    for name in ("one layer, fixed", "two layers"):
        lost, cache = surprise(weights[name], others)
        found = stripe(cache.weights[-1], period).max()
        print(f"block of {period}, {name:16}  stripe {found:.2f}, loss the second time {lost[period:].mean():.2f}")
        if name == "one layer, fixed":
            shown = "".join(SYMBOLS[i] for i in others[0, :-1])
            heatmap(
                cache.weights[0][0, head],
                shown,
                shown,
                ax=ax,
                vmax=1,
                title=f"a block of {period} letters",
                xlabel="letter that is looked at",
                ylabel="letter that looks",
                cbar=period == 18,
            )
            later = np.arange(period, T - 1)
            ax.plot(
                later - (period - 1),
                later,
                color=COLOURS[4],
                linewidth=1.5,
                linestyle=":",
                label="where an induction head would look",
            )
axes[0].legend(loc="upper right", fontsize=8)
figure.suptitle("A stripe without induction: this one-layer model looks 23 places back, whatever stands there")
keep(figure, "14_false_stripe")

# %% [markdown]
# One layer, a fine stripe, and a loss close to 0. But no letter is looked for: rotary positions tell a head how far
# away a key is, and 23 places back has always been right. For blocks of 18 the head looks at the same distance as
# before, and the loss is far above guessing, since it is sure and wrong. The model of two layers does not mind. A
# stripe on one kind of sequence is a picture of *where*, and tells nothing of *why*. It takes a second kind of
# sequence to tell the two apart.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** As in *Compute*, with scores of 3 and 0: the text is A B A C A. What does the induction head say?
# 2. **By hand.** A model has 32 layers, 8 heads of keys and values of 128 numbers each, and 2 bytes for a number. How
#    large is the cache of one text of 8192 tokens? And if each of its 32 query heads had keys and values of its own?
# 3. **Mend.** Somebody keeps the keys and values, and makes each new key by `multihead.prepare(params, new, new,
#    rotary="interleaved")`. The first token's logits are right, all others are wrong. What is missing?
# 4. **Change.** Let the second time come backwards: `backwards = np.concatenate([tokens[:, :24], tokens[:, 23::-1]],
#    axis=1)`. Say first whether the loss of the two-layer model will be below or above log 32, then compute it.
#
# <details><summary>Answers</summary>
#
# 1. The letters before are none, A, B, A, C. The last A finds places 1 and 3, with a weight of 20.09 / 43.17 = 0.465
#    each, and 0.023 for each of the other three. It says B and C with 0.465 each, A with 0.070: an induction head
#    gives a vote to each letter that followed.
# 2. $2 \cdot 32 \cdot 8 \cdot 128 \cdot 8192 \cdot 2$ bytes = 1 GiB. With 32 heads of keys and values it is 4 GiB.
# 3. `offset=t`, the place of the new token, both there and in `multihead.attend`. Without it every key is turned as
#    if it stood at place 0, and all distances look the same.
# 4. Above. The heads find the earlier copy of each letter and say what followed it then; going backwards, what comes
#    is what stood before. `surprise(two, backwards)[0][24:].mean()` is about 5 nats, and log 32 is 3.5. What copies
#    is sure of itself, and does not notice that it is wrong.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Predict.** In an encoder every row looks at every row, in each of its layers. Its text grows by one token at the
# end. Which keys and values of the earlier tokens are still right?
#
# - a: those of the lowest layer, and no others
# - b: all of them, since a key is made of its own row, and earlier tokens have not changed
# - c: none, since every row looks at the new token

# %%
### BEGIN SOLUTION
which_keys_stay = "a"
### END SOLUTION
check.which_keys_stay(which_keys_stay)

# %% [markdown]
# **Write** one step with a cache, in a model that has ALiBi (lesson 09) in the place of rotary positions: each head
# takes its slope times the distance off its scores. The new token's key and value have been appended already, so they
# stand last, at a distance of 0; the key before is at a distance of 1. Scores are divided by $\sqrt D$ before the
# distance is taken off. `check.attend_step.hint(1)` is there if you are stuck.


# %%
def attend_step(query, keys, values, slope):
    """query (B, H, D) of the new token, keys (B, H, S, D), values (B, H, S, E), slope (H,) -> context (B, H, E).

    The keys and values stand in the order in which their tokens came, the new token's own last.
    """
    ### BEGIN SOLUTION
    S, D = keys.shape[-2:]
    scores = (keys @ query[..., None])[..., 0] / np.sqrt(D)
    distance = np.arange(S)[::-1]
    scores = scores - slope[:, None] * distance
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = shares / shares.sum(axis=-1, keepdims=True)
    return (weights[..., None, :] @ values)[..., 0, :]
    ### END SOLUTION


# %%
check.attend_step(attend_step)

# %% [markdown]
# ## Read
#
# - Elhage et al. 2021, *A mathematical framework for Transformer circuits*, transformer-circuits.pub/2021/framework,
#   the parts on one-layer and on two-layer attention-only models: what one layer can do, and induction heads in two.
# - Olsson et al. 2022, *In-context learning and induction heads*, arXiv:2209.11895: the sudden fall of the loss in
#   models of many sizes, with one layer as the exception (not reproduced here beyond these tiny ones).
# - Shazeer 2019, *Fast Transformer decoding: one write-head is all you need*, arXiv:1911.02150: the memory of the
#   cache as what makes decoding slow, and one head of keys and values for all.
# - Ainslie et al. 2023, *GQA*, arXiv:2305.13245, section 2.2: grouped queries.
