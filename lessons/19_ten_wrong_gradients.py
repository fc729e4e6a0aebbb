# %% [markdown]
# # 19 · Ten gradients that looked right
#
# **You will be able to** recognise ten kinds of wrong backward pass that people really wrote; say for each what hides
# it from the tests that it came with; and write a test that nothing of the kind passes.
#
# *Needs lessons 02 and 07; lesson 10 for number 8. Fifty minutes.*

# %%
import copy
import difflib
import inspect
import textwrap
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt

from minattn import masks, optim, tree
from minattn.attention import multihead
from minattn.classroom import agree, check, data, keep, source
from minattn.functions import embedding_backward, layer_norm, layer_norm_backward, softmax, softmax_backward
from minattn.gradcheck import central_difference, complex_step, gradcheck, registry, zoo
from minattn.op import inputs as names_of
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Five small Vision Transformers learn to read written digits. They are alike in everything, start from the same numbers
# and see the same pictures, but in four of them one thing in a backward pass is wrong, in each another.

# %%
runs = data("19_losses.json")  # by make_19_losses.py beside it: 250 updates of 64 digits, three seeds
look = dict(zip(runs, zip(COLOURS, ["-", "--", "-.", ":", (0, (5, 1, 1, 1))], strict=False), strict=True))

figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for name, (colour, dash) in look.items():
    mean = np.mean(runs[name]["losses"], axis=0)  # (updates,), over the seeds
    smooth = mean.reshape(-1, 10).mean(axis=1)
    ax.semilogy(np.arange(len(smooth)) * 10 + 5, smooth, color=colour, linestyle=dash, linewidth=2, label=name)
ax.set(
    title="All five losses fall, and four of the five gradients are wrong",
    xlabel="update",
    ylabel="training loss (nats, mean of 10 updates and 3 seeds)",
)
ax.legend(title="what is wrong in backward")
keep(figure, "19_five_losses")

for name, run in runs.items():
    print(f"{np.mean(run['right']):.0%} of the digits never seen are right   {name}")

# %% [markdown]
# One of the wrong ones lies on the right one, another close beside it, and both read as many digits. The other two
# learn more slowly, and would pass for a learning rate that was not chosen well. A gradient that is wrong mostly still
# points downhill, and training forgives much. So nobody finds such a mistake by looking at a loss: the network just
# stays, if one sees anything at all, a little worse than it could be.
#
# The ten mistakes below are of kinds that were published, in code that people learned from, and that passed the tests
# they came with.

# %% [markdown]
# ## Compute
#
# The softmax of lesson 01 once more: the scores (1, 0, -1) became the weights (0.665, 0.245, 0.090). Say the loss moves
# with the first weight alone, dweights = (1, 0, 0). How does it move with each score?
#
# A score moves its own weight by weight · (1 - weight), and every other one too, because they share one sum. Some
# forget the second half:
#
# | | weight | dweight | own weight alone (wrong) | dweight - sum of dweight · weight | dscore (right) |
# |---|---|---|---|---|---|
# | a | 0.665 | 1 | 0.665 · 0.335 · 1 = 0.223 | 1 - 0.665 = 0.335 | 0.665 · 0.335 = 0.223 |
# | b | 0.245 | 0 | 0.245 · 0.755 · 0 = 0 | 0 - 0.665 = -0.665 | 0.245 · (-0.665) = -0.163 |
# | c | 0.090 | 0 | 0.090 · 0.910 · 0 = 0 | 0 - 0.665 = -0.665 | 0.090 · (-0.665) = -0.060 |
# | sum | 1 | | **0.223** | | **0** |
#
# The shapes are right, the first number is right, nothing has the wrong sign. What gives it away is the sum. Adding the
# same to all three scores changes no weight, so the three slopes must cancel.

# %%
weights = softmax(np.array([1.0, 0.0, -1.0]))
dweights = np.array([1.0, 0.0, 0.0])
wrong = weights * (1 - weights) * dweights
right = softmax_backward(dweights, weights)
print("wrong", wrong, "sum", wrong.sum().round(3))
print("right", right, "sum", right.sum().round(3))

# %% [markdown]
# Now a test that is often seen: compare the two with a tolerance of 0.01. A loss that is the mean over a hundred
# numbers divides every gradient by a hundred:

# %%
for count in (1, 100):
    passes = np.allclose(wrong / count, right / count, atol=0.01)
    print(f"mean over {count:3}: largest difference {np.abs(wrong - right).max() / count:.4f}, passes: {passes}")

# %% [markdown]
# A tolerance says nothing by itself. It has to be measured against the gradient.
#
# *You can go on to the exercises from here. What follows are the ten, one screen each, and the tests they pass.*

# %% [markdown]
# ## Derive
#
# Nearly all of the ten have one form. Somewhere in backward a factor is missing, or too much, or a sum is missing, and
# in the case that was tested **that factor is 1, or that sum has one term**:
#
# | in backward | is nothing when | so test with |
# |---|---|---|
# | a factor 1 / B | the batch is one sequence | two or more |
# | a gain | gain = 1, as initialised | random gains |
# | dropout's mask | dropout = 0 | 0.3, with a mask that is kept |
# | a factor $\sqrt{M / D}$ | one head, where D = M | two or more |
# | a sum over heads, or over tokens | one head for one key, all tokens different | shared keys, a token twice |
# | a case of its own (`None`, an empty row, a second call) | it never comes | each of them, on purpose |
#
# A test therefore chooses a point at which *nothing is neutral*: every size another and none of them 1, every parameter
# moved off its start, every option on, and then off.
#
# The upstream gradient too has to be random. Rows of a softmax sum to 1, so with `dweights` 1 everywhere the gradient
# of the scores is 0, and a backward that returns 0 is right:

# %%
rng = np.random.default_rng(0)
scores = rng.normal(size=(2, 5))
print("upstream 1:     ", np.allclose(softmax_backward(np.ones((2, 5)), softmax(scores)), 0))
print("upstream random:", np.allclose(softmax_backward(rng.normal(size=(2, 5)), softmax(scores)), 0))

# %% [markdown]
# And the error is relative to the gradient. With $a$ what backward says and $n$ what the complex step of lesson 02
# finds,
#
# $$\text{error} = \frac{\max |a - n|}{\max(\max |n|, \text{floor})}$$
#
# where the floor is a thousandth of the largest gradient of the whole problem, because some true gradients are 0 (a
# bias of all keys, below a softmax).

# %% [markdown]
# ## Six tests
#
# Five that are in use, and the full check. Each is given an op with one wrong line, and a *trial*: parameters, inputs,
# options. There are two trials for each mistake: `toy`, small and as initialised, and `full`, with nothing neutral.
# Shapes and loss are tried on `full`, where they have their best chance.


# %%
class Trial(NamedTuple):
    inputs: tuple
    options: Any = {}
    params: Any = {}


def point_of(op, trial):
    return dict(zip(names_of(op), trial.inputs, strict=False)) | trial.params


def call(op, trial, point):
    params = {name: point[name] for name in trial.params}
    given = [point[name] for name in point if name not in trial.params]
    return op.forward(params, *given, **copy.deepcopy(trial.options))  # the same dropout in every call


def gradients(op, trial, point, dout_of):
    """What backward says, by name; dout_of(out): the upstream gradient."""
    out, cache = call(op, trial, point)
    dinputs, dparams = op.backward(dout_of(out), cache)
    found = dict(zip(names_of(op), dinputs, strict=False)) | dparams
    return {name: found[name] for name, x in point.items() if x.dtype.kind == "f"}


def shapes(op, right, trial):
    point = point_of(op, trial)
    found = gradients(op, trial, point, np.ones_like)
    return all(found[name].shape == point[name].shape for name in found)


def loss_falls(op, right, trial):
    """Learn what the right op gives elsewhere: does the loss fall to less than half in 150 steps?"""
    rng, point, losses, state = np.random.default_rng(3), point_of(op, trial), [], None
    elsewhere = {name: x + rng.normal(size=x.shape) if x.dtype.kind == "f" else x for name, x in point.items()}
    wanted, _ = call(right, trial, elsewhere)
    for _ in range(150):
        losses.append(((call(op, trial, point)[0] - wanted) ** 2).mean())
        grads = gradients(op, trial, point, lambda out: 2 * (out - wanted) / out.size)
        moved, state = optim.adam({name: point[name] for name in grads}, grads, state, learning_rate=0.03)
        point = point | moved
    return bool(losses[-1] < losses[0] / 2)


def loose(op, right, trial):
    """Central differences of a mean, to an absolute tolerance of 0.01."""
    return compare(
        op, trial, central_difference, lambda out: 2 * out / out.size, lambda a, n: np.allclose(a, n, atol=0.01)
    )


def exact(op, right, trial):
    """The complex step, to 1e-12 of the gradient, or of 1 where that is larger."""
    rng = np.random.default_rng(4)
    out, _ = call(op, trial, point_of(op, trial))
    dout = rng.normal(size=out.shape)
    return compare(op, trial, complex_step, lambda out: dout, to_rounding)


def to_rounding(a, n):
    return np.abs(a - n).max() <= 1e-12 * max(np.abs(n).max(), 1)


def compare(op, trial, derivative, dout_of, same):
    point = point_of(op, trial)
    out, _ = call(op, trial, point)
    found = gradients(op, trial, point, dout_of)
    numeric = derivative(lambda moved: call(op, trial, moved)[0], point, dout_of(out))
    return all(found[name].shape == numeric[name].shape and same(found[name], numeric[name]) for name in found)


def full_check(op, right, trial):
    return bool(gradcheck(op, inputs=trial.inputs, params=trial.params, options=trial.options))


# %% [markdown]
# Each mistake is a line of the library's own source, changed and run: `minattn.gradcheck.zoo` keeps more than a hundred
# of them alive, so that the checker can be tried on each. `screen` shows the line (- as it stands, + with the
# mistake), tries the six tests, and prints what the full check says.

# %%
OPS, FOUND = registry(), {}
TESTS = {
    "right shapes": shapes,
    "loss falls": loss_falls,
    "loose check,\nas initialised": loose,
    "exact check,\nas initialised": exact,
    "exact check,\nbatch of one": exact,
    "full check": full_check,
}


def one_of(trial, op, batched):
    """The first sequence alone."""
    cut = {"mask": trial.options["mask"][:1]} if "mask" in trial.options else {}
    inputs = (x[:1] if name in batched else x for name, x in zip(names_of(op), trial.inputs, strict=False))
    return trial._replace(inputs=tuple(inputs), options=trial.options | cut)


def changed(bug):
    """The lines of the source that the mistake changes."""
    before = after = inspect.getsource(import_module(f"minattn.{bug.where}"))
    for line, mistake in bug.edits.items():
        after = after.replace(line, mistake)
    print(f"minattn/{bug.where.replace('.', '/')}.py")
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""):
        if line[:1] in "+-" and line[:3] not in ("+++", "---") and line[1:].strip():
            print(f"  {line[0]} {line[1:].strip().split('  #')[0].rstrip()}")


def tell(report):
    """What is wrong in full, what is right in one line, without the digits of rounding."""
    right = [row.name for row in report.rows if report.right(row)]
    for line in str(report).splitlines():
        if not line.startswith("  ok "):
            print(textwrap.fill(line, 112, subsequent_indent=" " * (10 if line.startswith("   ") else 4)))
    if right:
        print(f"  ok: {', '.join(right)}")


def screen(name, toy, full, batched=("query", "key", "value", "scores", "x", "ids"), op=None):
    bug = zoo.named(name)
    wrong, right = zoo.build(bug, op), OPS[op or bug.op][0]
    trials = [full, full, toy, toy, one_of(full, wrong, batched), full]
    with np.errstate(invalid="ignore"):  # one of the ten divides 0 by 0
        passed = [test(wrong, right, trial) for test, trial in zip(TESTS.values(), trials, strict=True)]
        report = gradcheck(wrong, inputs=full.inputs, params=full.params, options=full.options)
    alarms = [not test(right, right, trial) for test, trial in zip(TESTS.values(), trials, strict=True)]
    FOUND[name] = ~np.array(passed), np.array(alarms)
    changed(bug)
    print("\npasses:", ", ".join(test.replace("\n", " ") for test, ok in zip(TESTS, passed, strict=True) if ok))
    print("caught:", ", ".join(test.replace("\n", " ") for test, ok in zip(TESTS, passed, strict=True) if not ok))
    print("\nthe full check:")
    tell(report)
    mended = gradcheck(right, inputs=full.inputs, params=full.params, options=full.options)
    mended.assert_ok()
    print(f"\nmended: every gradient right to {mended.tolerance:g}")


# %% [markdown]
# ### 1 · The batch's share, taken twice
#
# A loss that is a mean divides by B. Whoever writes "the gradient of the softmax for a batch" from memory tends to
# divide by B there too. Every gradient that came through such a softmax is too small by the same factor, and Adam,
# which measures each gradient by its own size, hardly notices.
#
# *What hides it:* a batch of one, where 1 / B is 1.

# %%
rng = np.random.default_rng(1)
some_scores, small_scores = Trial((rng.normal(size=(3, 4, 5)),)), Trial((0.1 * rng.normal(size=(4, 25)),))
screen("softmax backward divides by the batch size", toy=small_scores, full=some_scores)

# %% [markdown]
# ### 2 · The diagonal alone
#
# The mistake of *Compute*: each score moves its own weight, and how it moves the others by way of the sum is forgotten.
#
# *What hides it:* a loose tolerance. Weights that are shared out among many are small, and so is what is missing.

# %%
screen("only the diagonal of the softmax jacobian", toy=small_scores, full=some_scores)

# %% [markdown]
# ### 3 · A gain pulled out of a mean
#
# Layer norm takes two means over the features, and the gain stands inside both:
# $dx = (g \, dout - \text{mean}(g \, dout) - n \, \text{mean}(g \, dout \, n)) / \text{std}$, where $n$ is what was
# normalised. It is tempting to take $g$ out of the bracket, and right if all gains are equal.
#
# *What hides it:* gain = 1, as every layer norm starts.

# %%
x, gain, bias = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)
screen(
    "layer norm backward pulls the gain outside the sums",
    toy=Trial((x, np.ones(5), np.zeros(5))),
    full=Trial((x, gain, bias)),
)

# %% [markdown]
# ### 4 · Weights from before the dropout
#
# Dropout silences weights at random in training, and the context is a sum with what is left. The values must hear
# through the same weights. The cache held both, and backward took the other.
#
# *What hides it:* dropout = 0, the usual setting of a test, since randomness is a nuisance there. A generator that is
# copied for every call draws the same mask every time.

# %%
query, key, value = (rng.normal(size=(2, 3, *end)) for end in ((4, 6), (5, 6), (5, 7)))  # (B, H, T, D) (B, H, S, D) ...
screen(
    "dropout: dvalue uses the weights before dropout",
    toy=Trial((query, key, value)),
    full=Trial((query, key, value), {"dropout": 0.3, "rng": np.random.default_rng(5)}),
)

# %% [markdown]
# ### 5 · One key for several heads
#
# Where several heads share a key, NumPy repeats it in forward, and backward has to sum over the heads (lesson 02: *what
# was broadcast is summed*). Without the sum the gradient has one entry for each head.
#
# *What hides it:* as many keys as heads. And a loss that falls: `key - rate * dkey` broadcasts without a word, and the
# one shared key becomes three.

# %%
NOT_SUMMED = "multi-query dkey is not summed over the heads that share it"
shared = Trial((query, key[:, :1], value[:, :1]))  # (B, 1, S, D), (B, 1, S, E)
alone = Trial((query[:, :1], key[:, :1], value[:, :1]))
screen(NOT_SUMMED, toy=alone, full=shared, op="dot")

wrong = zoo.build(zoo.named(NOT_SUMMED), "dot")
dkey = gradients(wrong, shared, point_of(wrong, shared), np.ones_like)["key"]
print("\nthe key before a step", key[:, :1].shape, "and after it", (key[:, :1] - 0.1 * dkey).shape)

# %% [markdown]
# ### 6 · A condition that takes in too much
#
# `scores + bias if bias is not None else 0` reads as if the 0 stood for the bias. Python reads
# `(scores + bias) if bias is not None else 0`: without a bias there are no scores. This one is in forward; backward is
# that of the op as it was meant.
#
# *What hides it:* a bias in every test.

# %%
bias = rng.normal(size=(2, 3, 4, 5))
screen(
    "a + b + bias if bias is not none else 0", toy=Trial((query, key, value, 0 * bias)), full=Trial((query, key, value))
)

# %% [markdown]
# ### 7 · What the last call left
#
# A layer that keeps its activations on itself has room for one call. Encoder and decoder that share a layer, or two
# heads that share an op, call it twice and then go back twice: both backwards use what the *second* call left.
#
# *What hides it:* every test that calls forward and then backward, however exact. The full check calls forward again,
# on other inputs, before it goes back.

# %%
screen("backward uses what the last call left", toy=Trial((query, key, value)), full=Trial((query, key, value)))

# %% [markdown]
# ### 8 · The width of the model for that of a head
#
# Each head compares D features, the model has M = H D or any other number. Forward divides by $\sqrt D$, backward by
# $\sqrt M$.
#
# *What hides it:* one head, where both are the same.

# %%
states, memory = rng.normal(size=(2, 4, 10)), rng.normal(size=(2, 5, 10))  # (B, T, M), (B, S, M)
heads = {name: p + 0.1 * rng.normal(size=p.shape) for name, p in multihead.init(rng, M=10, H=4, G=2, D=6, E=3).items()}
screen(
    "the scale is the root of the model width in backward alone",
    toy=Trial((states, memory, memory), params=multihead.init(rng, M=10, H=1)),
    full=Trial((states, memory, memory), params=heads),
)

# %% [markdown]
# ### 9 · A row with nothing to look at
#
# A sequence that is padding from its first step on, a window that has left the text: all scores of a row are hidden,
# the sum of the shares is 0, and 0 / 0 is NaN. One such row, and a few steps later the whole model is NaN.
#
# *What hides it:* masks that leave something in every row. Here the second sequence has an empty row, and a batch of
# one does not see it.

# %%
some = rng.random((2, 1, 4, 5)) < 0.6
some[..., 0] = True
dead = some.copy()
dead[1, :, 2] = False
screen(
    "fully masked row is nan",
    toy=Trial((query, key, value), {"mask": some}),
    full=Trial((query, key, value), {"mask": dead}),
)

# %% [markdown]
# ### 10 · A token that comes twice
#
# An embedding looks up rows of a table. Its gradient adds up at the rows that were read, and `dtable[ids] = dout` puts
# one over the other. So does `dtable[ids] += dout`, by the way: NumPy reads all rows first, adds, and writes each once.
# `np.add.at` adds one by one.
#
# *What hides it:* tokens that are all different. Here each sequence repeats none, and the two share two.

# %%
table, ids = rng.normal(size=(6, 4)), np.array([[0, 3, 1], [5, 3, 0]])
screen(
    "embedding: a row read twice is assigned, not added",
    toy=Trial((0.1 * table, np.array([[0, 3, 1]]))),
    full=Trial((table, ids)),
)

# %% [markdown]
# ### All ten
#
# Every cell below was computed on this page. The last row is the library as it stands, on all the same trials.

# %%
caught = np.array([found for found, _ in FOUND.values()])  # (10, 6)
alarms = np.array([alarm for _, alarm in FOUND.values()]).any(axis=0)  # (6,)
rows = [f"{i}  {name}" for i, name in enumerate(FOUND, start=1)] + ["no mistake: the library itself"]
cells = np.vstack([caught, alarms])

figure, ax = plt.subplots(figsize=(10.5, 5.6), layout="constrained")
colours = np.array([[0.93, 0.93, 0.93], [0.0, 0.447, 0.698]])  # passes, caught
ax.imshow(colours[cells.astype(int)], aspect="auto")
for (row, column), hit in np.ndenumerate(cells):
    ax.text(column, row, "caught" if hit else "passes", ha="center", va="center", color="white" if hit else "0.35")
ax.axhline(len(caught) - 0.5, color="black", linewidth=1.5)
ax.set_xticks(range(6), [f"{test}\n\n{n} of 10" for test, n in zip(TESTS, caught.sum(axis=0), strict=True)])
ax.set_yticks(range(len(rows)), rows)
ax.set_xticks(np.arange(5) + 0.5, minor=True)
ax.set_yticks(np.arange(len(caught)) + 0.5, minor=True)
ax.grid(which="minor", color="white", linewidth=2)
ax.tick_params(which="both", length=0)
ax.xaxis.tick_top()
figure.suptitle("No test in use catches more than six of ten wrong gradients; the full check catches all")
keep(figure, "19_ten_by_six")

for test, n in zip(TESTS, caught.sum(axis=0), strict=True):
    print(f"{test.replace(chr(10), ' '):27} catches {n:2} of 10")
print("false alarms on the library:", int(alarms.sum()))

# %% [markdown]
# Read it by columns. *Right shapes* finds what has a wrong shape, and *loss falls* what does not learn at all; most
# wrong gradients do neither. A *loose check* at initialisation sees none of the ten: gradients of a mean are small
# beside its tolerance. An *exact check* at the same place does little better: it is not the tolerance that fails but
# the place. Nothing neutral, and still a *batch of one*: more than half.
#
# And by rows. Number 7 has right gradients in every single call, so a test has to know that a call can be followed by
# another. That is why a check is more than a comparison of numbers.

# %% [markdown]
# **Predict.** One mistake more: a backward that returns 1.01 times the right gradient, everywhere. Which of the six
# tests catch it?
#
# - a: all but *right shapes*
# - b: the two exact checks and the full check
# - c: the full check alone

# %%
### BEGIN SOLUTION
caught_by = "b"
### END SOLUTION
check.caught_by(caught_by)

# %%
whole = OPS["softmax"][0]


def slightly_more(dout, cache):
    return tree.map(lambda gradient: 1.01 * gradient, whole.backward(dout, cache))


slightly, full, toy = SimpleNamespace(**vars(whole) | {"backward": slightly_more}), some_scores, small_scores
trials = full, full, toy, toy, one_of(full, slightly, ("scores",)), full
for (name, test), trial in zip(TESTS.items(), trials, strict=True):
    print(f"{name.replace(chr(10), ' '):27} {'passes' if test(slightly, whole, trial) else 'caught'}")

# %% [markdown]
# ## Equal to the library
#
# Four of the ten, in three derivations of two or three lines each, compared with the library's own.
#
# *The softmax with its whole Jacobian* (numbers 1 and 2): $\partial \text{weight}_i / \partial \text{score}_j =
# \text{weight}_i ([i = j] - \text{weight}_j)$, a matrix for every row.
#
# *Layer norm, gain inside* (number 3). Let $n$ be the normalised row and $dn = g \, dout$. A step of one $x$ moves the
# mean of its row by $1 / M$ of the step and the deviation by $n / M$ of it, and all M numbers of the row hear both:
# hence two means over the row, and both are of $dn$, with its gain.
#
# *The embedding* (number 10), one token after another.

# %%
weights, dweights = softmax(rng.normal(size=(4, 5))), rng.normal(size=(4, 5))
jacobian = weights[:, :, None] * (np.eye(5) - weights[:, None, :])  # (T, S, S)
agree((dweights[:, None, :] @ jacobian)[:, 0], softmax_backward(dweights, weights))

x, gain, bias, dout = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5), rng.normal(size=(2, 3, 5))
_, normalized, inverse_std = layer_norm(x, gain, bias)
dn = gain * dout
dx = inverse_std * (dn - dn.mean(-1, keepdims=True) - normalized * (dn * normalized).mean(-1, keepdims=True))
agree(dx, layer_norm_backward(dout, normalized, inverse_std, gain, bias)[0])

dout, dtable = rng.normal(size=(2, 3, 4)), np.zeros_like(table)
for row, token in zip(dout.reshape(-1, 4), ids.reshape(-1), strict=True):
    dtable[token] += row
agree(dtable, embedding_backward(dout, table, ids))

# %%
source(softmax_backward, layer_norm_backward)

# %% [markdown]
# ## A surprise
#
# Two mistakes more, of the same origin. The first swaps query and key, in forward and in backward; the second turns the
# causal mask round, so that every token looks at itself and the future. Here they are on a sequence that looks at
# itself:

# %%
T = 5
triple = tuple(rng.normal(size=(2, T, width)) for width in (6, 6, 7))
for name in ("query and key swapped in both passes", "causal mask inverted"):
    print(name)
    op = zoo.build(zoo.named(name))
    tell(gradcheck(op, inputs=triple, options={"mask": masks.causal()}))

# %% [markdown]
# All right, to twelve digits. In both, backward is the exact derivative of a forward that is wrong, and that is all
# that a gradient check can ask (lesson 02). Two things see it: the name of what was meant, so that the outputs are
# compared too,

# %%
for name in ("query and key swapped in both passes", "causal mask inverted"):
    op = zoo.build(zoo.named(name))
    tell(gradcheck(op, inputs=triple, options={"mask": masks.causal()}, reference="dot"))

# %% [markdown]
# and a law: change the last token, and no earlier output may move.

# %%
later = tuple(x.copy() for x in triple)
for x in later:
    x[:, -1] += 1
ops = {name: zoo.build(zoo.named(name)) for name in ("query and key swapped in both passes", "causal mask inverted")}
for name, op in ({"the library itself": OPS["dot"][0]} | ops).items():
    before, after = (op.forward({}, *some, mask=masks.causal())[0] for some in (triple, later))
    print(f"{np.abs(after - before)[:, :-1].max():.2f} is how far earlier outputs move: {name}")

# %% [markdown]
# The law catches one and misses the other: a swap of query and key keeps the triangle. No single test is enough, which
# is why every mechanism of this library has its plain loops, its laws and its gradient check.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** Somebody tests attention with T = S = D = E = 4. Which of this lesson's mistakes gain a hiding place?
# 2. **Write.** A test of a few lines that finds number 7 in any op with the law
#    `forward(params, *inputs) -> out, cache`.
#
# <details><summary>Answers</summary>
#
# 1. All that turn or swap axes: query and key swapped keeps every shape, and so does a transpose that was forgotten.
#    Give every axis a length of its own; then most of them cannot even run.
# 2. ```python
#    def uses_its_own_call(op, params, inputs, others, dout):
#        _, cache = op.forward(params, *inputs)
#        expected = op.backward(dout, cache)[0]
#        _, cache = op.forward(params, *inputs)
#        op.forward(params, *others)  # somebody else, of the same shapes
#        found = op.backward(dout, cache)[0]
#        return all(np.array_equal(a, b) for a, b in zip(expected, found) if a is not None)
#    ```
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# Two backward passes to mend, each with its forward, which is right. First the numbers alone, without a diagnosis:
# which arrays are right, and what does that tell about the place? Then mend, and ask `check`, which has hints too.
#
# **Mend** `rnn_backward`.


# %%
def rnn(x, W, U):
    """x (B, T, I), W (I, N), U (N, N) -> the states of all steps, from a state of zeros on (B, T, N); cache."""
    hidden = [np.zeros((x.shape[0], U.shape[0]))]  # (B, N)
    for t in range(x.shape[1]):
        hidden.append(np.tanh(x[:, t] @ W + hidden[-1] @ U))
    return np.stack(hidden[1:], axis=1), (x, W, U, hidden)


def rnn_backward(dout, cache):
    """dout (B, T, N) -> dx (B, T, I), dW (I, N), dU (N, N)."""
    x, W, U, hidden = cache
    dx, dW, dU, dhidden = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), 0
    for t in reversed(range(x.shape[1])):
        new = hidden[t + 1]
        dtotal = (dout[:, t] + dhidden) * (1 - new * new)
        dx[:, t] = dtotal @ W.T
        dW += x[:, t].T @ dtotal
        ### BEGIN SOLUTION
        dU += hidden[t].T @ dtotal
        ### END SOLUTION
        dhidden = dtotal @ U.T
    return dx, dW, dU


# %%
steps = rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 5)), rng.normal(size=(5, 5))  # x (B, T, I), W (I, N), U (N, N)
tell(gradcheck(rnn, rnn_backward, steps, diagnose=False))

# %%
check.rnn_backward(rnn_backward)

# %% [markdown]
# **Mend** `rms_norm_backward`. Here a law helps, as the sum did in *Compute*: what happens to the output when a whole
# row of x is doubled, and what must therefore be true of a row of dx?


# %%
def rms_norm(x, gain):
    """x (B, T, M), gain (M,) -> gain times x, divided by the root mean square of its row (B, T, M); cache."""
    rms = np.sqrt((x * x).mean(axis=-1, keepdims=True))  # (B, T, 1)
    return gain * x / rms, (x, gain, rms)


def rms_norm_backward(dout, cache):
    """dout (B, T, M) -> dx (B, T, M), dgain (M,)."""
    x, gain, rms = cache
    normalized = x / rms
    dgain = (dout * normalized).sum(axis=(0, 1))
    dnormalized = gain * dout
    ### BEGIN SOLUTION
    dx = (dnormalized - normalized * (dnormalized * normalized).mean(axis=-1, keepdims=True)) / rms
    ### END SOLUTION
    return dx, dgain


# %%
tell(gradcheck(rms_norm, rms_norm_backward, (rng.normal(size=(2, 3, 5)), rng.normal(size=5)), diagnose=False))

# %%
check.rms_norm_backward(rms_norm_backward)

# %% [markdown]
# ## Read
#
# - Ba, Kiros & Hinton 2016, *Layer normalization*, arXiv:1607.06450, section 3: the forward of number 3, and its gain.
# - Shazeer 2019, *Fast transformer decoding: one write-head is all you need*, arXiv:1911.02150, section 3: one key for
#   all heads, number 5.
# - Humbatova et al. 2020, *Taxonomy of real faults in deep learning systems*, arXiv:1910.11015: what else goes wrong,
#   from interviews and from code.
# - The guide `guides/gradcheck.md`, and `minattn/gradcheck/zoo.py`: all the mistakes that the checker knows, one row
#   each.
