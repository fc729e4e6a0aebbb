# %% [markdown]
# # 01 · A soft dictionary
#
# **You will be able to** say what a query, a key and a value are and why they are called so; look something up by hand
# in a dictionary of three entries that answers every question; and say what makes its answers sharp or blurred.
#
# *Needs nothing, no calculus either. Twenty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn.attention import dot
from minattn.classroom import agree, check, keep, source
from minattn.plots import heatmap

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A dictionary answers a *query* by comparing it with its *keys*. One key is equal to it, and the *value* beside that
# key is the answer. Here is a box of paints: the names are keys, the colours (red, green, blue, from 0 to 1) are
# values.

# %%
box = {"red": (0.9, 0.1, 0.1), "yellow": (1.0, 0.85, 0.1), "green": (0.1, 0.6, 0.2), "blue": (0.1, 0.3, 0.9)}
print("yellow" in box, box["yellow"])
print("orange" in box)

# %% [markdown]
# Ask for orange, and a dictionary has nothing to say. A painter would take some red and some yellow. To do that, keys
# must be something of which two can be *nearly* equal: let each be a place on the colour wheel, an arrow of length 1.

# %%
wheel = {"red": 0, "yellow": 60, "green": 120, "blue": 240}  # degrees


def arrow(degrees):
    return np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])


names = list(box)
keys = np.stack([arrow(wheel[name]) for name in names])  # (S, D) = (4, 2)
values = np.array([box[name] for name in names])  # (S, E) = (4, 3)
orange = arrow(20)  # (D,)  a reddish one: no paint in the box stands there


def look_up(query, sharpness):
    similar = keys @ query  # (S,)  1: the same direction, 0: at right angles, -1: opposite
    shares = np.exp(sharpness * similar)  # (S,)  never negative
    weights = shares / shares.sum()  # (S,)  they sum to 1
    return weights, weights @ values


sharpness = np.geomspace(200, 0.05, 60)
weights, colours = (np.stack(each) for each in zip(*(look_up(orange, s) for s in sharpness), strict=True))

figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 4.6), height_ratios=[1, 3], sharex=True, layout="constrained")
top.imshow(colours[None], extent=(0, 1, 0, 1), aspect="auto")
top.set(yticks=[], title="Asked for orange, at 20°: a lookup that melts into an average")
top.set_ylabel("answer", rotation=0, ha="right", va="center")
x = (np.arange(len(sharpness)) + 0.5) / len(sharpness)
bottom.stackplot(x, weights.T, colors=values, labels=names)
marks = np.array([0, 15, 30, 45, 59])
bottom.set_xticks(x[marks], [f"{s:.0f}" if s > 10 else f"{s:.1g}" for s in sharpness[marks]])
bottom.set(
    xlim=(0, 1), ylim=(0, 1), xlabel="sharpness (left: only the nearest key counts)", ylabel="weight of each paint"
)
bottom.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
keep(figure, "01_melting_lookup")

# %% [markdown]
# On the left the lookup is an ordinary dictionary: the nearest key, red at 0°, takes all. Further right yellow joins
# in, and the answer is orange, which was never in the box. At the far right everybody speaks with one voice, and the
# answer is the same muddy average whatever was asked.
#
# That is attention. A query, a comparison with every key, weights that sum to 1, an average of the values.
#
# | | in a dictionary | here |
# |---|---|---|
# | **query** | what you ask for | an arrow: the colour you would like |
# | **key** | what an entry is filed under | an arrow: where a paint stands on the wheel |
# | **value** | what you get | the paint itself |
#
# Key and value are two things: what makes an entry *found* need not be what it *says*.

# %% [markdown]
# ## Compute
#
# Three entries, small enough for paper. The keys are arrows with two numbers, the values are single numbers.
#
# | | key | value | key · query, for query = (1, 0) | e to that | weight |
# |---|---|---|---|---|---|
# | a | (1, 0) | 10 | 1 | 2.718 | 2.718 / 4.086 = 0.665 |
# | b | (0, 1) | 20 | 0 | 1 | 1 / 4.086 = 0.245 |
# | c | (-1, 0) | 30 | -1 | 0.368 | 0.368 / 4.086 = 0.090 |
# | sum | | | | 4.086 | 1 |
#
# The answer is 0.665 · 10 + 0.245 · 20 + 0.090 · 30 = 14.25: mostly a, some b, a little c. The same in NumPy:

# %%
query = np.array([1.0, 0.0])  # (D,)
key = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # (S, D)
value = np.array([10.0, 20.0, 30.0])  # (S,)

scores = key @ query  # (S,)
by_hand = np.exp(scores) / np.exp(scores).sum()  # (S,)
print("scores", scores)
print("weights", by_hand, "sum to", by_hand.sum().round(12))
print("answer", (by_hand @ value).round(2))

# %% [markdown]
# *You can go on to lesson 02 from here. What follows says where the formula comes from, and that the library computes
# the same.*

# %% [markdown]
# ## Derive
#
# A dictionary can be written as a sum over all of its entries, most of which are multiplied by 0:
#
# $$\text{answer} = \sum_s [\text{key}_s = \text{query}] \; \text{value}_s$$
#
# The bracket is 1 where the two are equal and 0 elsewhere. To make it soft, put something in its place that is large
# where the two are *similar*. Three steps lead there:
#
# 1. **A score.** The dot product $\text{key}_s \cdot \text{query}$ is largest when both arrows point the same way.
# 2. **A share.** Scores may be negative, shares may not: take $e^{\text{score}}$. A score that is larger by 1 makes a
#    share that is 2.718 times as large, wherever it started.
# 3. **A weight.** Divide by the sum of all shares, so that the answer is an average and not a pile:
#
# $$\text{weight}_s = \frac{e^{\text{score}_s}}{\sum_j e^{\text{score}_j}} \qquad\qquad
#   \text{answer} = \sum_s \text{weight}_s \; \text{value}_s$$
#
# Steps 2 and 3 together are called **softmax**. Multiplying all scores by a large number makes it sharp, and in the
# limit a dictionary again; multiplying by 0 makes every weight equal.
#
# How many numbers an arrow has matters too: the more there are, the larger dot products become by chance. The library
# therefore divides the scores by $\sqrt D$; lesson 07 shows why it has to be exactly that.

# %% [markdown]
# ## Equal to the library
#
# Many queries at once, as rows: T of them look at S keys. `dot.forward` takes rows, divides by $\sqrt D$, and returns
# the answers, called the *context*, and a cache that holds the weights.

# %%
queries = np.stack([arrow(angle) for angle in range(0, 360, 30)])  # (T, D)
D = queries.shape[-1]
sharp = 5.0

context, cache = dot.forward({}, sharp * np.sqrt(D) * queries, keys, values)  # sqrt(D) undoes the division
by_hand = [look_up(query, sharp) for query in queries]

agree(cache.weights, np.stack([weights for weights, _ in by_hand]))
agree(context, np.stack([answer for _, answer in by_hand]))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4.4), width_ratios=[5, 1], layout="constrained")
heatmap(
    cache.weights,
    [f"{angle}°" for angle in range(0, 360, 30)],
    names,
    ax=left,
    annot=True,
    title="Twelve questions to four paints",
    ylabel="asks for (query)",
)
right.imshow(context[:, None], aspect="auto")
right.set(xticks=[], yticks=[], title="answer")
keep(figure, "01_twelve_questions")

# %% [markdown]
# Every row sums to 1, but for the rounding of what is shown. Half way between two paints, as at 180°, the box answers
# with half of each; nearer to one of them, as at 150°, it gives nearly that paint alone.
#
# This is the library's own code, all of it:

# %%
source(dot.forward)

# %% [markdown]
# ## A surprise
#
# Repaint the box: what stands under red is white from now on, (1, 1, 1), and its key stays where it was. Ask for orange
# as before.
#
# **Predict.** What happens to the weight of that paint?
#
# - a: it stays as it was
# - b: it rises, since its three numbers are now the largest in the box
# - c: it falls, since there is nothing of orange in white

# %%
### BEGIN SOLUTION
repainted = "a"
### END SOLUTION
check.repainted(repainted)

# %%
white = values.copy()
white[0] = 1.0
_, again = dot.forward({}, sharp * np.sqrt(D) * queries, keys, white)
agree(again.weights, cache.weights)

# %% [markdown]
# No weight of any of the twelve queries has changed: who is looked at depends on query and key alone, and the values
# come in only afterwards. A loud key is another matter. Make red's arrow three times as long, and turn nothing:

# %%
loud = keys * np.array([[3.0], [1.0], [1.0], [1.0]])
_, shouting = dot.forward({}, sharp * np.sqrt(D) * queries, loud, values)
for angle in (60, 90):
    row = range(0, 360, 30).index(angle)
    print(
        f"asked for {angle}°: red had {cache.weights[row, 0]:.3f}, and shouting it has {shouting.weights[row, 0]:.3f}"
    )

# %% [markdown]
# Asked for yellow, which is in the box, the soft dictionary now hands out red. At 90° nothing changes, since red's
# arrow is at right angles to the query, and three times 0 is 0. A dot product hears length as well as direction;
# `minattn.attention.cosine` is the mechanism that hears direction alone.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** Two entries of the box have the same key and different values. What does a sharp lookup at that key
#    return?
# 2. **By hand.** With the three entries of *Compute*, what does the query (0, 0) return? And (0, 5)?
# 3. **Predict.** All scores grow by 100. What happens to the weights?
# 4. **Change.** Write `look_up` so that only paints within 90° of the query may answer. What should it return when
#    there are none?
#
# <details><summary>Answers</summary>
#
# 1. The average of the two values: both scores are equal, so are the weights.
# 2. (0, 0) is similar to nobody in particular: all scores are 0, the answer is the average, 20. (0, 5) has the scores
#    0, 5, 0 and the weights 0.007, 0.987, 0.007: 20 again, for another reason.
# 3. Nothing: every share is multiplied by the same $e^{100}$, and the division takes it out. Computers subtract the
#    largest score for that reason: it changes nothing and keeps $e^{\text{score}}$ from overflowing.
# 4. A mask: shares where `similar < 0` are 0. Where none is left the library answers 0, never 0 / 0; lesson 08 is about
#    masks.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** a soft lookup that no key can shout down: what is similar is the *cosine* of the angle between query and
# key, 1 for the same direction and -1 for the opposite one, however long the two arrows are. It takes B queries at
# once, and must not break at a sharpness of some thousand. `check.softened.hint(1)` is there if you are stuck.


# %%
def softened(query, keys, values, sharpness):
    """query (B, D), keys (S, D), values (S, E), sharpness a number >= 0 -> answers (B, E).

    Arrows have any length but 0. Scores are sharpness * cosine, and an answer is the average by their softmax.
    """
    ### BEGIN SOLUTION
    query = query / np.sqrt((query**2).sum(axis=-1, keepdims=True))
    keys = keys / np.sqrt((keys**2).sum(axis=-1, keepdims=True))
    scores = sharpness * (query @ keys.T)  # (B, S)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))  # (B, S)
    weights = shares / shares.sum(axis=-1, keepdims=True)  # (B, S)
    return weights @ values
    ### END SOLUTION


# %%
check.softened(softened)

# %% [markdown]
# ## Read
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, section 3.2: query, key and value in one
#   sentence.
# - Graves, Wayne & Danihelka 2014, *Neural Turing machines*, arXiv:1410.5401, equations 5 and 6: a memory that is asked
#   by similarity, with a sharpness.
