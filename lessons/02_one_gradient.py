# %% [markdown]
# # 02 · One gradient by hand
#
# **You will be able to** say what a gradient is and which shape it has; derive the backward pass of a classifier by
# hand, and train it on written digits; prove a backward pass to twelve digits; and say what such a proof leaves open.
#
# *Needs lesson 01, and slopes from school. Forty minutes.*

# %%
import math
import re

import numpy as np
from matplotlib import pyplot as plt

from minattn import optim
from minattn.classroom import agree, check, keep, source
from minattn.data import digits
from minattn.functions import (
    Loss,
    cross_entropy,
    cross_entropy_backward,
    linear,
    linear_backward,
    softmax,
    softmax_backward,
    unbroadcast,
)
from minattn.gradcheck import gradcheck
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Here are written digits, 8 × 8 pixels each, and the smallest reader of digits that there is: every pixel has a weight
# for each of the ten digits, and a digit's *score* is the sum of ink times weight. At the start all weights are 0, so
# it knows nothing. How bad its guesses are is one number, the *loss*: how surprised it is, on average, by what the
# picture really shows.
#
# Take one of the 640 weights, that of the marked pixel for the digit 1, turn it from left to right, and leave all
# others alone.

# %%
train, test = digits.split()
x, targets = train.images.reshape(-1, 64), train.labels  # (B, I), (B,)
DIGIT, ROW, COLUMN = 1, 2, 3
PIXEL = 8 * ROW + COLUMN


def turned(weight):
    """The loss of a reader whose weights are all 0 but for one."""
    W = np.zeros((64, 10))
    W[PIXEL, DIGIT] = weight
    loss, *_ = cross_entropy(linear(x, W), targets)
    return loss.mean


places = np.linspace(-4, 6, 101)
losses = np.array([turned(weight) for weight in places])

figure = plt.figure(figsize=(9, 3.9), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[2, 5])
shown = [np.flatnonzero(targets == digit)[k] for digit in (1, 0, 5) for k in (0, 1)]
for ax, example in zip(left.subplots(3, 2).flat, shown, strict=True):
    ax.imshow(train.images[example], cmap="gray_r")
    ax.add_patch(plt.Rectangle((COLUMN - 0.5, ROW - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2))
    ax.set(xticks=[], yticks=[])
left.suptitle("the pixel", fontsize=11)

ax = right.subplots()
ax.plot(places, losses, color=COLOURS[0], label="loss")
for colour, weight in zip(COLOURS[1:4], (-2.5, 0, 4), strict=True):
    slope = (turned(weight + 0.001) - turned(weight)) / 0.001
    near = weight + np.array([-1, 1])
    ax.plot(near, turned(weight) + slope * (near - weight), color=colour, linewidth=3, label=f"slope {slope:+.3f}")
    ax.plot(weight, turned(weight), "o", color=colour)
ax.plot(places[losses.argmin()], losses.min(), "v", color="black", label="lowest: slope 0")
ax.set(
    title="A slope says which way is down, and how steep it is",
    xlabel="weight of the marked pixel for the digit 1",
    ylabel="loss (nats)",
)
ax.legend()
keep(figure, "02_one_weight")

# %% [markdown]
# Ones have ink there, so ink there should speak *for* 1, and the best weight is positive; but some other digits have
# ink there too, so it is not too large. Nobody has to know that. At any place one only has to ask for the slope: where
# it is positive the loss grows to the right, so go left; where it is negative, go right; where it is flat, stay.
#
# A slope can be asked for without any calculus: nudge the weight by 0.001 and see how far the loss moves, as the cell
# above does. But each weight needs a nudge of its own, and there are 640. A *backward pass* finds all slopes at once.
# To write one is the craft of this course; to prove it by nudges is how we know that it is right.

# %% [markdown]
# ## Compute
#
# Three scores, as in lesson 01, of which b is the right one. Softmax makes of them what is *predicted*. *Desired* is 1
# at the right one and 0 elsewhere. The loss is $-\ln$ of what was predicted for b: $-\ln 0.245 = 1.408$. Its unit is
# called a *nat*; had b been predicted with certainty, the loss were $-\ln 1 = 0$.
#
# Now nudge each score by 0.1, alone:
#
# | | score | predicted | loss after the nudge | moved by | moved by / 0.1 | predicted - desired |
# |---|---|---|---|---|---|---|
# | a | 1 | 0.665 | 1.475 | +0.068 | +0.68 | 0.665 - 0 = +0.665 |
# | **b** | 0 | 0.245 | 1.333 | -0.075 | -0.75 | 0.245 - 1 = -0.755 |
# | c | -1 | 0.090 | 1.417 | +0.009 | +0.09 | 0.090 - 0 = +0.090 |
#
# The last two columns are nearly the same, and with a smaller nudge they come nearer. That is the simple gradient of
# this loss: **predicted - desired**. Against it lies the way down: lower the scores that were too high, raise the one
# that was too low.

# %%
scores = np.array([1.0, 0.0, -1.0])
desired = np.array([0.0, 1.0, 0.0])
predicted = np.exp(scores) / np.exp(scores).sum()


def surprise(scores):
    return np.log(np.exp(scores).sum()) - scores[1]  # -ln(e^score_b / sum)


gradient = predicted - desired
nudged = [(surprise(scores + 0.1 * one) - surprise(scores)) / 0.1 for one in np.eye(3)]
print("loss                ", surprise(scores).round(3))
print("nudged              ", np.round(nudged, 3))
print("predicted - desired ", gradient)
print("loss after one step ", surprise(scores - 1.0 * gradient).round(3))

# %% [markdown]
# One step against the gradient, and the loss has fallen to less than half.
#
# Where do scores come from? From inputs and weights, and the slopes find their way through. Three inputs, one weight
# $w = 3$, one bias $b$: $\text{out} = w \cdot \text{in} + b$. Say we know already how the loss moves with each of the
# three results, and call that *dout*:
#
# | in | dout | din = w · dout | share of dw = in · dout | share of db = 1 · dout |
# |---|---|---|---|---|
# | 1 | 0.5 | 1.5 | 0.5 | 0.5 |
# | 2 | -1 | -3 | -2 | -1 |
# | -1 | 2 | 6 | -2 | 2 |
# | | | | **dw = -3.5** | **db = 1.5** |
#
# Each input moves one result, so it has a slope of its own. Weight and bias move all three results at once: their
# slopes are *sums* over the three. Whatever is used several times hears from every use.

# %%
inputs, w, dout = np.array([1.0, 2.0, -1.0]), 3.0, np.array([0.5, -1.0, 2.0])
print("din", w * dout, "  dw", (inputs * dout).sum(), "  db", dout.sum())

# %% [markdown]
# *You can go on to lesson 03 from here, but read the paragraph on the chain rule below first. What follows derives
# all this for arrays, trains on the digits, and proves the gradient.*

# %% [markdown]
# ## Derive
#
# **The slope** of the loss with respect to a number $x$ is how far the loss moves, per step of $x$, when the step is
# tiny. The **gradient** of an array is the array of the slopes of its numbers. So it has the array's shape: *dx has x's
# shape*, always. In code its name is d and the name: `dW` is the gradient of `W`.
#
# **The chain rule** is two sentences. Along a path, slopes multiply: where $z$ moves 3 per step of $y$, and $y$ moves 2
# per step of $x$, then $z$ moves 6 per step of $x$. Over several paths they add:
#
# $$dx_i = \sum_j \frac{\partial y_j}{\partial x_i} \, dy_j$$
#
# A *backward pass* applies it from the end to the beginning: it is given `dout`, how the loss moves with a result, and
# returns how the loss moves with everything that the result was made of.
#
# **The linear layer.** B rows of I inputs, O results: $\text{out}_{bo} = \sum_i x_{bi} W_{io} + b_o$. Put the slopes of
# this line into the sum above:
#
# $$dx_{bi} = \sum_o dout_{bo} W_{io} \qquad dW_{io} = \sum_b x_{bi} \, dout_{bo} \qquad db_o = \sum_b dout_{bo}$$
#
# In arrays: `dx = dout @ W.T`, `dW = x.T @ dout`, `db = dout.sum(axis=0)`. Shapes are a good memory aid: with x (B, I),
# W (I, O) and dout (B, O), there is one product of `dout` and `W` that is (B, I), and one of `x` and `dout` that is (I,
# O).
#
# **What was broadcast is summed.** NumPy added `b` (O,) to every one of B rows, as if it had been copied B times. Every
# copy hears its own slope, and $b$ is all of them at once: its gradient is their sum, over just those axes along which
# it was repeated. The library has a function for that, `unbroadcast`.
#
# **Cross-entropy** is the loss of *Compute*, for logits $z$ (another word for scores that go into a softmax) and the
# right class $t$:
#
# $$\text{loss} = -\ln \frac{e^{z_t}}{\sum_j e^{z_j}} = \ln \sum_j e^{z_j} - z_t \qquad\qquad
#   dz_v = \frac{e^{z_v}}{\sum_j e^{z_j}} - [v = t]$$
#
# The bracket is 1 where $v$ is $t$ and 0 elsewhere: predicted - desired. It sums to 0, because predicted and desired
# both sum to 1. The mean over B rows divides each row's slope by B.

# %% [markdown]
# ## Equal to the library
#
# The whole reader, forward and backward, by the formulas above:


# %%
def forward(x, W, b, targets):
    logits = x @ W + b  # (B, V)
    total = np.exp(logits).sum(axis=1, keepdims=True)  # (B, 1)
    surprise = np.log(total[:, 0]) - logits[np.arange(len(x)), targets]  # (B,)
    return surprise.mean(), (x, W, targets, np.exp(logits) / total)


def backward(dloss, cache):
    x, W, targets, predicted = cache
    # loss = mean of log total - logit of the target
    desired = np.eye(W.shape[1])[targets]
    dlogits = dloss * (predicted - desired) / len(x)
    # logits = x W + b
    return dlogits @ W.T, x.T @ dlogits, dlogits.sum(axis=0)


rng = np.random.default_rng(0)
W, b = 0.1 * rng.normal(size=(64, 10)), 0.1 * rng.normal(size=10)
loss, cache = forward(x, W, b, targets)
dx, dW, db = backward(1.0, cache)

logits = linear(x, W, b)
theirs, *needed = cross_entropy(logits, targets)
dlogits = cross_entropy_backward(Loss(mean=1.0), *needed)
agree(loss, theirs.mean)
agree([dx, dW, db], list(linear_backward(dlogits, x, W, b)))
agree(db, unbroadcast(dlogits, b))

# %% [markdown]
# This is the library's own code of the backward pass. `_rows` and `product` let x have any number of leading axes, and
# `column_sum` adds up all rows, as `sum(axis=0)` does; `cross_entropy_backward` can besides ignore some targets and
# soften what is desired, and divides by what it counts:

# %%
source(linear_backward, unbroadcast, cross_entropy_backward)

# %% [markdown]
# ## Train
#
# A training loop: forward, backward, a step against the gradient, again.

# %%
W, b = np.zeros((64, 10)), np.zeros(10)
held_out = test.images.reshape(-1, 64)
learned, strangers = [], []
for step in range(401):
    loss, cache = forward(x, W, b, targets)
    _, dW, db = backward(1.0, cache)
    learned.append(loss)
    strangers.append(forward(held_out, W, b, test.labels)[0])
    if step % 100 == 0:
        right = ((held_out @ W + b).argmax(axis=1) == test.labels).mean()
        print(f"step {step:3}   loss {loss:.2f}   on digits never seen {strangers[-1]:.2f}, {right:.0%} of them right")
    W, b = W - 1.0 * dW, b - 1.0 * db
print("every step went down:", bool(np.all(np.diff(learned) < 0)))

# %% [markdown]
# At step 0 all ten digits are equally likely: the loss is $\ln 10 = 2.30$, and it is right by chance.

# %%
figure = plt.figure(figsize=(10, 3.7), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 2])
ax = left.subplots()
ax.plot(learned, color=COLOURS[0], label="digits it learns from")
ax.plot(strangers, color=COLOURS[1], linestyle="--", label="digits never seen")
ax.set(title="Every step goes down", xlabel="step", ylabel="loss (nats)", ylim=(0, 2.5))
ax.legend()
most = np.abs(W).max()
panels = right.subplots(2, 5)
for digit, ax in enumerate(panels.flat):
    image = ax.imshow(W[:, digit].reshape(8, 8), cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set(title=digit, xticks=[], yticks=[])
    if digit == DIGIT:
        ax.add_patch(plt.Rectangle((COLUMN - 0.5, ROW - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5))
right.colorbar(image, ax=panels, label="weight of a pixel", shrink=0.8)
right.suptitle("What it has learned to look for", fontsize=12)
keep(figure, "02_learned_weights")

# %% [markdown]
# Red pixels speak for a digit, blue ones against it: the hole of the nought is blue. The marked one is the pixel of the
# first figure, and it has become red.

# %% [markdown]
# ## Prove
#
# The loss fell, and the pictures look right. Neither says that the gradient is right: lesson 19 is about ten gradients
# that were wrong, most of them while the loss fell. The proof is the nudge. In one direction, or in both:
#
# $$\text{forward difference: } \frac{f(w + h) - f(w)}{h} \qquad\qquad
#   \text{central difference: } \frac{f(w + h) - f(w - h)}{2h}$$
#
# How small should $h$ be? Here are both for twenty weights of the reader, at every $h$ from 1 down to $10^{-18}$,
# against the slopes of the backward pass.

# %%
rng = np.random.default_rng(1)
W, b, some = 0.1 * rng.normal(size=(64, 10)), 0.1 * rng.normal(size=10), slice(0, 100)
_, cache = forward(x[some], W, b, targets[some])
_, dW, _ = backward(1.0, cache)
inked = np.flatnonzero(x[some].sum(axis=0) > 10)  # pixels that are blank in all pictures have slope 0
chosen = [(rng.choice(inked), rng.integers(10)) for _ in range(20)]


def at(place, step):
    moved = W.astype(np.result_type(W, type(step)))
    moved[place] += step
    return forward(x[some], moved, b, targets[some])[0]


def worst(slope):
    """The largest error of the twenty, relative to the largest of their gradients."""
    exact = np.array([dW[place] for place in chosen])
    found = np.array([slope(place) for place in chosen])
    return np.abs(found - exact).max() / np.abs(exact).max()


steps = np.logspace(0, -18, 73)
errors = {
    "forward difference": [worst(lambda p, h=h: (at(p, h) - at(p, 0.0)) / h) for h in steps],
    "central difference": [worst(lambda p, h=h: (at(p, h) - at(p, -h)) / (2 * h)) for h in steps],
    "complex step": [worst(lambda p, h=h: at(p, 1j * h).imag / h) for h in steps],
}

figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
for (name, found), colour, dash in zip(errors.items(), COLOURS, ["-", "--", "-"], strict=False):
    ax.loglog(
        steps,
        np.maximum(found, 1e-17),
        color=colour,
        linestyle=dash,
        linewidth=2,
        label=name,
        zorder=2 + (dash == "--"),
    )
ax.axhline(np.finfo(float).eps, color="black", linewidth=0.8, linestyle=":")
ax.text(1e-18, 1.2e-16, "one rounding of a float64", fontsize=9, va="top")
ax.annotate("a straight line\nfor a curve", (2e-3, 2e-4), (7e-2, 4e-9), arrowprops={"arrowstyle": "->"}, ha="center")
ax.annotate("the difference of\ntwo near-equal numbers", (1e-11, 3e-6), (2e-14, 1e-9), arrowprops={"arrowstyle": "->"})
ax.set(
    title="Smaller steps help until rounding takes over; a complex step has no such V",
    xlabel="step h",
    ylabel="error, relative to the largest slope",
    ylim=(1e-17, 30),
)
ax.legend(loc="lower right")
keep(figure, "02_error_against_step")


def power(number):
    return f"10^{round(math.log10(number))}"


for name in ("forward difference", "central difference"):
    best = int(np.argmin(errors[name]))
    print(f"{name}: best near h = {power(steps[best])}, with an error near {power(errors[name][best])}")

# %% [markdown]
# Each V has two sides. On the right the step is long and the curve is not a straight line: the error of the forward
# difference shrinks with $h$, that of the central one with $h^2$, because what bends to the left and what bends to the
# right cancel. On the left the step is so short that both losses agree in nearly all of their sixteen digits. The
# difference keeps what is left, the division by $h$ blows it up, and the error grows with $1/h$. Below $10^{-16}$ the
# loss no longer moves by even one rounding, the difference is 0, and everything is wrong.
#
# So even at the best $h$, central differences leave about six of the sixteen digits in doubt, and one has to find that
# $h$ first. The green line bends the same way where $h$ is long, but any $h$ below $10^{-8}$ will do.
#
# > **In a box: the complex step.** Make the nudge imaginary. Where $f$ is a smooth formula,
# >
# > $$f(w + ih) = f(w) + i h f'(w) - \frac{h^2}{2} f''(w) - \dots \qquad\Rightarrow\qquad
# >   \frac{\operatorname{Im} f(w + ih)}{h} = f'(w) + O(h^2)$$
# >
# > The value of $f$ stands in the real part and the slope in the imaginary part. Nothing is subtracted, so nothing is
# > lost: $h$ can be $10^{-20}$, where $h^2$ is far below rounding. In NumPy the same forward code runs on complex
# > numbers, and the slope comes out to machine precision. `at(p, 1j * h).imag / h` above is all of it.
# >
# > The code has to stay a formula all the way. `abs`, `float`, `.real` and `np.linalg.norm` throw the imaginary part
# > away, and a `max` has to be told to compare real parts:

# %%
h = 1e-20
print("slope of x * x at 3:  ", ((3 + 1j * h) * (3 + 1j * h)).imag / h)
print("slope of abs(x) at 3: ", np.imag(abs(3 + 1j * h)) / h, "where it should be 1")

# %% [markdown]
# Every forward pass of this library is written so that it takes complex numbers, and `gradcheck` proves every backward
# with them. It is given forward, backward, and inputs whose sizes are all different, so that no axis passes for
# another.


# %%
def tell(report):
    """The report, but without the digits of rounding, which differ from machine to machine."""
    print(re.sub(r"(ok .*error )\S+", r"\1<= 1e-12", str(report)))


rng = np.random.default_rng(2)
small = rng.normal(size=(6, 5)), rng.normal(size=(5, 4)), rng.normal(size=4)  # x (B, I), W (I, V), b (V,)
answers = {"targets": np.array([0, 2, 1, 2, 3, 0])}
tell(gradcheck(forward, backward, small, options=answers))

# %% [markdown]
# And a backward with a mistake that many make, a mean over the rows where a sum belongs:


# %%
def averaged(dloss, cache):
    dx, dW, db = backward(dloss, cache)
    return dx, dW, db / len(dx)


tell(gradcheck(forward, averaged, small, options=answers))

# %% [markdown]
# ## A surprise
#
# A reader whose author puts a softmax in front of the loss, not knowing that the loss contains one. Both passes are the
# library's own, so the backward belongs to the forward:


# %%
def twice(x, W, b, targets):
    weights = softmax(linear(x, W, b))  # (B, V)
    loss, *needed = cross_entropy(weights, targets)  # it wants logits
    return loss.mean, (x, W, b, weights, needed)


def twice_backward(dloss, cache):
    x, W, b, weights, needed = cache
    dweights = cross_entropy_backward(Loss(mean=dloss), *needed)
    return linear_backward(softmax_backward(dweights, weights), x, W, b)


tell(gradcheck(twice, twice_backward, small, options=answers))

# %% [markdown]
# Every gradient is right to twelve digits, and the reader is wrong:

# %%
for name, there, back in (("softmax once", forward, backward), ("softmax twice", twice, twice_backward)):
    params = {"W": np.zeros((64, 10)), "b": np.zeros(10)}
    for _ in range(200):
        loss, cache = there(x, params["W"], params["b"], targets)
        _, dW, db = back(1.0, cache)
        params, _ = optim.sgd(params, {"W": dW, "b": db}, learning_rate=1.0)
    right = (linear(held_out, **params).argmax(axis=1) == test.labels).mean()
    print(f"{name:13}   loss after 200 steps {loss:.2f}   {right:.0%} of the digits never seen are right")
print(f"the least that softmax twice can ever reach: {math.log(math.e + 9) - 1:.2f}")

# %% [markdown]
# Numbers between 0 and 1 cannot say much as logits: even with full certainty, (1, 0, 0, ...), the second softmax
# predicts $e / (e + 9)$, less than a quarter. A gradient check says that *backward is the derivative of forward*. It
# cannot say that forward is what you meant. For that one has to know what was meant, and say it another way:
#
# - **naive**: the paper's formula in plain loops, slow and hard to get wrong, compared on small inputs;
# - **laws**: what must hold whatever the numbers: probabilities sum to 1, a certain and right answer has loss 0;
# - **parity**: the same numbers as an independent program.
#
# Each of the library's mechanisms has all three. Given the name of what is meant, `gradcheck(..., reference="dot")`
# compares outputs as well. Here is the first of the three, for one row:

# %%
one = small[0][:1], *small[1:]
row = [sum(one[0][0, i] * one[1][i, v] for i in range(5)) + one[2][v] for v in range(4)]
naive = -math.log(math.exp(row[0]) / sum(math.exp(z) for z in row))
once, _ = forward(*one, targets=np.array([0]))
double, _ = twice(*one, targets=np.array([0]))
print(f"in plain loops {naive:.3f}   softmax once {once:.3f}   softmax twice {double:.3f}")
agree(once, naive)

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** A bias (10,) is added to 200 rows, and `dout` (200, 10) is 1 everywhere. What is the bias's gradient?
# 2. **By hand.** In *Compute*, let c be the right answer. What are loss and gradient, and what do the three numbers of
#    the gradient sum to? Which scores does a step against it raise?
# 3. **Predict.** A friend checks a gradient by central differences with $h = 10^{-13}$, "to be precise". Which error
#    does the figure promise, and which $h$ would you recommend?
#
# <details><summary>Answers</summary>
#
# 1. 200 in each of the ten places. It is a sum: the bias moves every row. If the loss is a mean, its 1/200 is in `dout`
#    already, and must not be taken a second time.
# 2. The loss is $-\ln 0.090 = 2.408$, the gradient (0.665, 0.245, -0.910), the sum 0. A step against the gradient
#    raises c alone and lowers the other two.
# 3. Between $10^{-2}$ and $10^{-1}$: one digit, or two. The loss is about 2.5 and known to some $10^{-16}$; divided by
#    $10^{-13}$ that is some $10^{-3}$, beside slopes of some $10^{-2}$. A central difference wants an $h$ near
#    $10^{-4}$ here, and the complex step wants no thought.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the backward of a linear layer with a *gain*, a number for each output that its column is multiplied by, and
# an unusual bias: one number for each of the T rows of a sequence, the same for all V outputs and for every sequence of
# the batch. Forward is given. Each gradient has the shape of its array. (`check.gained_linear_backward.hint(1)` helps.)


# %%
def gained_linear(x, W, gain, bias):
    """x (B, T, I), W (I, V), gain (V,), bias (T, 1) -> out (B, T, V), cache."""
    product = x @ W  # (B, T, V)
    out = gain * product + bias  # (B, T, V)
    return out, (x, W, gain, product)


def gained_linear_backward(dout, cache):
    """dout (B, T, V) -> dx (B, T, I), dW (I, V), dgain (V,), dbias (T, 1)."""
    x, W, gain, product = cache
    ### BEGIN SOLUTION dx, dW, dgain, dbias
    # out = gain * product + bias
    dbias = dout.sum(axis=(0, 2))[:, None]
    dgain = (dout * product).sum(axis=(0, 1))
    dproduct = dout * gain
    # product = x @ W
    dW = x.reshape(-1, x.shape[-1]).T @ dproduct.reshape(-1, dproduct.shape[-1])
    dx = dproduct @ W.T
    return dx, dW, dgain, dbias
    ### END SOLUTION


# %%
check.gained_linear_backward(gained_linear_backward)

# %% [markdown]
# **Mend.** A regression predicts `x @ W + b`, and its loss is the mean of all squared differences from `y`, which is an
# input too and has a gradient of its own. Forward is right. The backward goes downhill, and is wrong.


# %%
def squared_loss(x, W, b, y):
    """x (B, I), W (I, V), b (V,), y (B, V) -> loss, a number, and cache."""
    difference = x @ W + b - y  # (B, V)
    return (difference**2).mean(), (x, W, difference)


def squared_loss_backward(dloss, cache):
    """dloss, a number -> dx (B, I), dW (I, V), db (V,), dy (B, V)."""
    x, W, difference = cache
    # loss = mean of difference ** 2
    ### BEGIN SOLUTION
    ddifference = dloss * 2 * difference / difference.size
    ### END SOLUTION
    # difference = x @ W + b - y
    return ddifference @ W.T, x.T @ ddifference, ddifference.sum(axis=0), -ddifference


# %%
check.squared_loss_backward(squared_loss_backward)

# %% [markdown]
# **Mend.** Each row of x has a prediction of itself taken off, x @ W + b. So the result is as wide as the input, and x
# comes to it by two ways: as it is, and through W. Forward is right. The backward runs without a complaint whatever B
# and M are, and every gradient has the shape of its array. Something is wrong all the same.


# %%
def leftover(x, W, b):
    """x (B, M), W (M, M), b (M,) -> out (B, M), cache."""
    return x - (x @ W + b), (x, W)


def leftover_backward(dout, cache):
    """dout (B, M) -> dx (B, M), dW (M, M), db (M,)."""
    x, W = cache
    # out = x - (x @ W + b)
    ### BEGIN SOLUTION
    dx = dout - dout @ W.T
    dW = -x.T @ dout
    ### END SOLUTION
    return dx, dW, -dout.sum(axis=0)


# %%
check.leftover_backward(leftover_backward)

# %% [markdown]
# ## Read
#
# - Squire & Trapp 1998, *Using complex variables to estimate derivatives of real functions*, SIAM Review 40(1),
#   doi:10.1137/S003614459631241X: the complex step on three pages.
# - Baydin, Pearlmutter, Radul & Siskind 2018, *Automatic differentiation in machine learning: a survey*,
#   arXiv:1502.05767, sections 2 and 3: numerical, symbolic and automatic derivatives side by side.
# - The guide `guides/gradcheck.md`: what the checker takes, what it measures, and what it says.
