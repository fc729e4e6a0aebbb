# %% [markdown]
# # 03 · Recurrence
#
# **You will be able to** unroll a recurrent network and send a gradient back through its steps by hand; say why that
# gradient vanishes or explodes, and why it does so in straight lines on a logarithmic axis; tell the norm of a matrix
# from its spectral radius; and stop a step that would jump off a cliff.
#
# *Needs lesson 02: slopes and the chain rule. Thirty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import optim
from minattn.classroom import agree, check, keep, source
from minattn.data import phrases
from minattn.gradient_norms import gradient_norms, norm
from minattn.models import recurrent_model
from minattn.op import bind
from minattn.plots import curves, gradient_flow
from minattn.plots.canvas import COLOURS
from minattn.recurrent import rnn

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A **recurrent** network reads a sequence step by step and keeps one vector as it goes: its **state**, called
# *hidden*. At every step the new state is made of what is read and of the old state, always with the same weights.
# Whatever it knows of the first letter when it comes to the last has passed through every state between.
#
# How much can an error at the end teach the steps at the beginning? Take such a network that guesses the next letter
# of a phrase, count only its error at the last letter, and nudge the state after an earlier step a little, in the
# direction that moves the error most: by how much does it move, per unit of nudge? That number is the length, or
# **norm**, of the *gradient* at that step. Where it is tiny the network cannot find out that an early letter mattered;
# where it is huge, one careless update wrecks the weights.
#
# The phrases are real ones, from the manual of Python. The weights that carry the old state into the new one are
# random, and made larger or smaller as a whole; the numbers in the legend say how large. Left, the network is given
# silence: it reads nothing but zeros. Right, it reads the letters.

# %%
N, T = 64, 40
texts = [phrase.text for phrase in phrases.load().test if len(phrase.text) > T][:32]
ids = np.array([[phrases.LETTERS.index(letter) for letter in text[: T + 1]] for text in texts])
tokens, targets = ids[:, :-1], ids[:, 1:].copy()  # (B, T) each: what is read, and the letter after it
targets[:, :-1] = -1  # only the last guess counts
print(len(texts), "phrases, such as:", texts[0])


def with_radius(rng, radius, N):
    """A random matrix, as a whole so large that its spectral radius is the one asked for (the word comes below)."""
    W = rng.normal(size=(N, N))
    return W * radius / np.abs(np.linalg.eigvals(W)).max()


op = bind(recurrent_model, cell=rnn)
letters, silence = {}, {}
for radius in (0.5, 0.8, 1.0, 1.25, 1.6):
    rng = np.random.default_rng(0)
    params = op.init(rng, V=len(phrases.LETTERS), I=16, N=N)
    params["cell"]["W_hidden"] = with_radius(rng, radius, N)
    letters[radius] = gradient_norms(op, params, (tokens,), targets, ignore_index=-1).steps  # (B, T)
    params["embed"] = np.zeros_like(params["embed"])  # whatever the letter, nothing arrives
    silence[radius] = gradient_norms(op, params, (tokens,), targets, ignore_index=-1).steps

figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
for ax, norms, title in zip(
    axes,
    (silence, letters),
    (
        "Reading silence: straight lines,\nup or down, by the size of the weights",
        "Reading letters: those that rose\nare held back",
    ),
    strict=True,
):
    gradient_flow(norms, labels=[f"{radius:g}" for radius in norms], ax=ax, title=title, xlabel="step (39 is the last)")
    ax.get_legend().remove()
axes[1].set_ylabel("")
lines = axes[0].get_lines()
figure.legend(
    lines,
    [line.get_label() for line in lines],
    loc="outside lower center",
    ncols=5,
    handlelength=3.5,
    title="size of the recurrent weights (spectral radius);  line: median of the phrases, band: middle half",
)
keep(figure, "03_straight_lines")

# %% [markdown]
# The axis is logarithmic: each mark is a thousand times the one below. A straight line on it means *multiplied by the
# same number at every step*.
#
# - Below 1 the gradient **vanishes**: at 0.5 the first letter gets less than a million-millionth of what the last one
#   gets.
# - Above 1, in silence, it **explodes**: every step further back multiplies it once more.
# - With letters it explodes hardly or not at all, since tanh squashes the state at every step. What vanishes goes on
#   vanishing.
#
# No learning rate is right for a network whose earlier steps hear a million-millionth of what the later ones hear.

# %% [markdown]
# ## Compute
#
# One number as the state, and three steps. The weight that carries the state is 0.5, what is read is added as it is,
# and tanh squashes the sum to between -1 and 1:
#
# $$\text{hidden}_t = \tanh(x_t + 0.5 \; \text{hidden}_{t-1})$$
#
# Only the first input is not 0. Down the table, forward; up its last column, backward.
#
# | step | x | x + 0.5 · hidden before | hidden | slope of tanh, 1 − hidden² | gradient at hidden |
# |---|---|---|---|---|---|
# | 1 | 1 | 1 | 0.762 | 0.420 | 0.484 · 0.868 · 0.5 = 0.210 |
# | 2 | 0 | 0.381 | 0.363 | 0.868 | 1 · 0.968 · 0.5 = 0.484 |
# | 3 | 0 | 0.182 | 0.180 | 0.968 | 1 |
#
# The gradient asked for is that of the last state, so it starts with 1. Each step back costs a slope and the weight.
# One slope more leads to the first input: 0.210 · 0.420 = 0.088. The same in NumPy, for any weight:


# %%
def by_hand(x, weight):
    hidden, before = [], 0.0
    for each in x:  # forward
        before = np.tanh(each + weight * before)
        hidden.append(before)
    slope = 1 - np.square(hidden)
    dhidden = [1.0]
    for t in reversed(range(1, len(x))):  # backward
        dhidden.insert(0, dhidden[0] * slope[t] * weight)
    return np.array(hidden), slope, np.array(dhidden)


hidden, slope, dhidden = by_hand([1.0, 0.0, 0.0], 0.5)
print("hidden ", hidden)
print("slope  ", slope)
print("dhidden", dhidden)
print("dx of the first input", (dhidden[0] * slope[0]).round(3))
nudged, _, _ = by_hand([1.001, 0.0, 0.0], 0.5)
print("a nudge of 0.001 there moves the last state by", ((nudged[-1] - hidden[-1]) / 0.001).round(3), "thousandths")

# %% [markdown]
# Now a weight of 2, with a loud input and with a faint one:

# %%
for first in (1.0, 0.001):
    hidden, slope, dhidden = by_hand([first, 0.0, 0.0], 2.0)
    print(f"x = {first:<5}  hidden {hidden}  slope {slope}  gradient at the first state {dhidden[0]:.3f}")

# %% [markdown]
# The faint one doubles at every step, 2 · 2 = 4. The loud one vanishes although the weight is 2: it has driven the
# states to where tanh is flat, and the slopes there are small. A large weight *may* explode; whether it does is for
# the states to say.
#
# *You can go on to lesson 04 from here. What follows derives the backward pass for any width, and says when exactly a
# gradient can grow.*

# %% [markdown]
# ## Derive
#
# Wider states make the weight a matrix. B sequences at a time, rows as everywhere in this library; $x_t$ is (B, I),
# the state (B, N), $W_\text{input}$ (I, N), $W_\text{hidden}$ (N, N):
#
# $$\text{total}_t = x_t W_\text{input} + \text{hidden}_{t-1} W_\text{hidden} + b
#   \qquad \text{hidden}_t = \tanh(\text{total}_t)$$
#
# Write the T steps below one another and there is no loop any more: a feed-forward network of T layers, whose layers
# share their weights and each take an input of their own. It is **unrolled**. Its backward is that of lesson 02, layer
# by layer from the last, and has a name of its own, **back-propagation through time**. A state is used twice, as an
# output and by the next step, so its gradient is a sum of two:
#
# $$\text{dhidden}_t = \text{doutput}_t + \text{dtotal}_{t+1} W_\text{hidden}^\top
#   \qquad \text{dtotal}_t = \text{dhidden}_t \odot (1 - \text{hidden}_t^2)$$
#
# The weights are used T times, so theirs are sums over the steps:
#
# $$\text{d}W_\text{hidden} = \sum_t \text{hidden}_{t-1}^\top \, \text{dtotal}_t \qquad
#   \text{d}W_\text{input} = \sum_t x_t^\top \, \text{dtotal}_t \qquad \text{d}b = \sum_{t, \text{rows}} \text{dtotal}_t
#   \qquad \text{d}x_t = \text{dtotal}_t W_\text{input}^\top$$


# %%
def forward(params, inputs, start):
    outputs = []
    hidden = start  # (B, N)
    for t in range(inputs.shape[1]):
        total = inputs[:, t] @ params["W_input"] + hidden @ params["W_hidden"] + params["b"]  # (B, N)
        hidden = np.tanh(total)  # (B, N)
        outputs.append(hidden)
    return np.stack(outputs, axis=1)  # (B, T, N)


def backward(doutputs, params, inputs, start, outputs):
    dparams = {name: np.zeros_like(array) for name, array in params.items()}
    dinputs, reach = np.zeros_like(inputs), np.zeros_like(outputs)
    dhidden = np.zeros_like(start)  # nothing comes from beyond the last step
    for t in reversed(range(inputs.shape[1])):
        before = outputs[:, t - 1] if t else start
        # outputs[:, t] = hidden
        dhidden = dhidden + doutputs[:, t]
        reach[:, t] = dhidden
        # hidden = tanh(total)
        dtotal = dhidden * (1 - outputs[:, t] ** 2)
        # total = inputs[:, t] @ W_input + before @ W_hidden + b
        dinputs[:, t] = dtotal @ params["W_input"].T
        dhidden = dtotal @ params["W_hidden"].T
        dparams["W_input"] += inputs[:, t].T @ dtotal
        dparams["W_hidden"] += before.T @ dtotal
        dparams["b"] += dtotal.sum(axis=0)
    return dinputs, dhidden, dparams, reach


# %% [markdown]
# From the last state to one k steps earlier there is a product of k matrices, each $W_\text{hidden}^\top$ with its
# rows scaled by slopes between 0 and 1. Two numbers say how large a matrix is:
#
# - its **norm**, the most by which it can make an arrow longer *in one step* (the largest singular value);
# - its **spectral radius**, the number by which it makes an arrow longer *per step in the long run* (the largest
#   absolute eigenvalue). It is never above the norm.
#
# Lengths multiply, and the slopes are at most 1. With an error at the last step alone, k steps can do no more than
#
# $$\lVert \text{dhidden}_{T-k} \rVert \le \lVert W_\text{hidden} \rVert^k \; \lVert \text{dhidden}_T \rVert$$
#
# A **norm** below 1 is enough for the gradient to vanish. A norm above 1 is needed, and not enough, for it to explode.
# In silence the slopes are all 1, the product is a power of $W_\text{hidden}^\top$, and in the long run each step
# multiplies by the spectral radius: the straight lines above. The cell measures their steepness over the 20 earliest
# steps.

# %%
W = with_radius(np.random.default_rng(0), 1.0, N)
print(f"at spectral radius 1 a random {N} x {N} matrix has the norm {np.linalg.norm(W, 2):.1f}")
for radius, norms in silence.items():
    middle = np.median(norms, axis=0)  # (T,)
    print(f"spectral radius {radius:<4g}  a step back multiplies by {(middle[0] / middle[20]) ** (1 / 20):.2f}")

# %% [markdown]
# ## Equal to the library
#
# `rnn.forward` returns the outputs and the last state, `rnn.backward` takes the gradients at both. `rnn.flow` is the
# loop alone; its `reach` is the whole gradient that arrives at every state, and that is what the figures draw.

# %%
rng = np.random.default_rng(1)
B, T_short, I, narrow = 3, 7, 5, 4
params = rnn.init(rng, I=I, N=narrow)
inputs, start = rng.normal(size=(B, T_short, I)), rng.normal(size=(B, narrow))
doutputs = rng.normal(size=(B, T_short, narrow))

(outputs, _), cache = rnn.forward(params, inputs, rnn.State(start))
agree(forward(params, inputs, start), outputs)

(dinputs, dstart), dparams = rnn.backward((doutputs, None), cache)
my_dinputs, my_dstart, my_dparams, my_reach = backward(doutputs, params, inputs, start, outputs)
agree(my_dinputs, dinputs)
agree(my_dstart, dstart.hidden)
agree(my_dparams, dparams)
agree(my_reach, rnn.flow((doutputs, None), cache).reach.hidden)

# %% [markdown]
# The library's step and its backward. The products with $W_\text{input}$, and those that give the gradients of the
# weights, are done for all steps at once outside the loop, since one large product is faster than many small ones.

# %%
source(rnn.step, rnn.step_backward)

# %% [markdown]
# ### Clipping
#
# A gradient that explodes points the right way and is far too long. Say 1 is allowed. Two remedies come to mind: *clip
# the numbers*, which makes 1 of all that are above 1 and -1 of all that are below -1; or *clip the norm*, which divides
# a gradient that is longer than 1 by its length.
#
# **Predict.** Both are done to the gradient (3, 0.5). Does what comes out still point where the gradient pointed?
#
# - a: with both, since clipping makes a gradient shorter and does nothing else
# - b: with the norm clipped it does, with the numbers clipped it does not
# - c: with the numbers clipped it does, since the small one stays as it is; with the norm clipped it does not

# %%
### BEGIN SOLUTION
clipped = "b"
### END SOLUTION
check.clipped(clipped)

# %%
gradient = np.array([3.0, 0.5])
remedies = {"as it was": gradient, "numbers": gradient.clip(-1, 1), "norm": gradient / np.linalg.norm(gradient)}
for name, arrow in remedies.items():
    print(f"{name:10} {arrow}   it points to {np.rad2deg(np.arctan2(arrow[1], arrow[0])):4.1f}°")

# %% [markdown]
# Only the second still goes the steepest way. So measure all gradients together as one vector, and where it is longer
# than allowed, shorten it and keep its direction (Pascanu, Mikolov & Bengio 2013, algorithm 1).
#
# $$\text{gradient} \leftarrow \text{gradient} \cdot \min\!\left(1, \frac{\text{allowed}}{\lVert \text{gradient} \rVert}\right)$$

# %%
grads = {"W": np.array([[3.0, 0.0], [0.0, 4.0]]), "b": np.array([12.0])}
shortened, length = optim.clip(grads, 1.0)
print("norm before", length, " after", shortened)
agree(shortened, {name: grad * min(1, 1.0 / length) for name, grad in grads.items()})

# %% [markdown]
# What it is good for can be seen with one unit, which starts at 0.5, reads nothing for 15 steps, and should end at
# 0.6. There are two numbers to learn, its weight and its bias. The loss is the squared distance from 0.6.

# %%
STEPS, START, GOAL, RATE = 15, 0.5, 0.6, 0.1


def loss_at(weight, bias):
    hidden = START
    for _ in range(STEPS):
        hidden = np.tanh(weight * hidden + bias)
    return (hidden - GOAL) ** 2


def descend(max_norm, updates=40):
    params = {"W_input": np.zeros((1, 1)), "W_hidden": np.array([[1.6]]), "b": np.array([0.1])}
    path = []
    for _ in range(updates):
        (_, last), cache = rnn.forward(params, np.zeros((1, STEPS, 1)), rnn.State(np.full((1, 1), START)))
        miss = last.hidden - GOAL
        _, dparams = rnn.backward((None, rnn.State(2 * miss)), cache)
        dparams, length = optim.clip(dparams, max_norm)
        path.append((params["W_hidden"].item(), params["b"].item(), (miss**2).item(), length))
        params, _ = optim.sgd(params, dparams, learning_rate=RATE)
    return np.array(path).T  # (4, updates)


free, held = descend(max_norm=1e9), descend(max_norm=0.1)
jump = free[3].argmax()
print(
    f"not clipped: the norm is at most {free[3, :jump].max():.1f} before update {jump}, and {free[3, jump]:.0f} there"
)
print(f"             the norm after it is {free[3, jump + 1]:.3f}, and the loss {free[2, jump + 1]:.2f}")
print(f"             at the end the loss is {free[2, -1]:.2f}")
print(f"clipped:     at the end the loss is {np.median(held[2, -10:]):.3f} (median of the last ten updates)")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.8), sharey=False, layout="constrained")
for ax, (low, high), (bottom, top) in ((left, (1.0, 2.4), (-0.6, 1.9)), (right, (1.335, 1.455), (-0.185, -0.065))):
    weights, biases = np.linspace(low, high, 400), np.linspace(bottom, top, 400)
    heights = loss_at(*np.meshgrid(weights, biases))
    surface = ax.pcolormesh(weights, biases, heights, cmap="Greys_r", vmin=0, vmax=2.5, rasterized=True)
    ax.plot(*free[:2], color=COLOURS[1], marker="o", markersize=5, label="not clipped")
    ax.plot(*held[:2], color=COLOURS[5], marker="s", markersize=4, label="clipped to norm 0.1")
    ax.set(xlim=(low, high), ylim=(bottom, top), xlabel="weight", ylabel="bias")
white = {"color": "white", "arrowprops": {"arrowstyle": "->", "color": "white"}}
left.annotate("start", free[:2, 0], (1.72, 0.25), **white)
left.annotate(f"update {jump}, norm {free[3, jump]:.0f}", free[:2, jump + 1], (1.35, 1.72), va="center", **white)
left.add_patch(plt.Rectangle((1.335, -0.185), 0.12, 0.12, fill=False, edgecolor="white", linestyle=":"))
left.set_title("One step from the wall flies off; clipped, it stays")
left.legend(loc="center left")
right.set_title("The foot of the wall, nearer")
figure.colorbar(surface, ax=(left, right), label="loss (squared distance from 0.6)")
keep(figure, "03_cliff")

# %% [markdown]
# Dark is low. The valley ends at a wall: beyond it the unit settles below 0 instead of above, and 15 steps make of a
# tiny difference all the difference. The gradient is short in the valley and long on the wall. Without clipping the
# path overshoots the bottom, lands on the wall, and the next step is as long as the gradient there: it flies out to
# where the state saturates, all slopes are nearly 0, and nothing brings it back. The clipped path comes to the same
# wall, and no step of it is longer than 0.01 (the learning rate times the norm allowed), so it stays at the foot.
#
# Clipping mends what explodes. It does nothing for what vanishes: there is no telling a gradient of 0 which way it
# would have pointed.

# %% [markdown]
# ## A surprise
#
# A spectral radius below 1 says that everything dies away *in the long run*. Here are three matrices with the spectral
# radius 0.9. How long an arrow can get in k steps is the norm of the k-th power:

# %%
turn = 0.9 * np.array([[0.8, -0.6], [0.6, 0.8]])  # a turn, and 0.9 times as long
chain = 0.9 * np.eye(4) + 0.9 * np.eye(4, k=1)  # each unit keeps 0.9 of itself and hands 0.9 to its neighbour
random = with_radius(np.random.default_rng(0), 0.9, N)
growth = {}
for name, W in {"a turn, shrunk": turn, "random": random, "a chain of 4 units": chain}.items():
    powers = [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(161)]
    radius = np.abs(np.linalg.eigvals(W)).max()
    label = f"{name}: radius {radius:.1f}, norm {powers[1]:.1f}"
    growth[label] = powers
    above = sum(power > 1.001 for power in powers)
    print(f"{label:48} at most {max(powers):5.1f}, after {int(np.argmax(powers)):2} steps; above 1 for {above} steps")

ax = curves(
    growth,
    xlabel="steps back, k",
    ylabel="largest growth in k steps",
    title="The same spectral radius, 0.9, and not the same fate",
)
ax.set_yscale("log")
ax.axhline(1, color="black", linewidth=0.8, linestyle=(0, (2, 2)))
keep(ax, "03_hump")

# %% [markdown]
# Far enough back each step multiplies all three by 0.9, or nearly. On the way there the chain makes a gradient more
# than a hundred times as long: with a spectral radius below 1 it grows for some thirty steps, and it is still longer
# than at the start after a hundred. Such a matrix is called *non-normal*: it adds to some directions before it takes
# from all. For a turn, or for any symmetric matrix, norm and radius are the same number and there is no hump. Random
# matrices stand between.
#
# The library's own gradient does it too. The same chain in an `rnn` at rest, error at the last step alone:

# %%
params = {"W_input": np.zeros((1, 4)), "W_hidden": chain, "b": np.zeros(4)}
_, cache = rnn.forward(params, np.zeros((1, 81, 1)))
from_last = np.array([[0.0, 0.0, 0.0, 1.0]])  # (B, N)
reach = norm(rnn.flow((None, rnn.State(from_last)), cache).reach.hidden)[0, ::-1]  # (T,), the last step first
agree(reach, np.array([np.linalg.norm(from_last @ np.linalg.matrix_power(chain.T, k)) for k in range(81)]))
print("norm of the gradient 0, 10, 25, 80 steps before the last:", *(f"{reach[k]:.4g}" for k in (0, 10, 25, 80)))

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** `W_hidden` is orthogonal: a turn, perhaps with a mirror, which changes no length. The cell is a tanh
#    `rnn`. Can the gradient explode? Can it vanish?
# 2. **By hand.** Nothing is read, all slopes are 1, the state is one number. After how many steps is the gradient less
#    than a thousandth, for the weights 0.5 and 0.9?
# 3. **Mend.** In `backward` a colleague writes `dhidden = doutputs[:, t]` where it says `dhidden = dhidden +
#    doutputs[:, t]`. Nothing raises, all shapes are right and the loss still falls a little. Which gradients are
#    wrong, and what can that network not learn?
# 4. **Change.** Replace `with_radius` by `radius * np.linalg.qr(rng.normal(size=(N, N)))[0]`. What happens to the
#    lines of the first figure, and why?
#
# <details><summary>Answers</summary>
#
# 1. Explode, no: the norm is 1 and the slopes are at most 1, so no step back can make it longer. Vanish, yes: every
#    state that is not 0 has a slope below 1.
# 2. 10 steps (0.5^10 = 0.00098) and 66 steps (0.9^66 = 0.00096). A weight nearer to 1 moves the end of its memory; it
#    does not do away with it.
# 3. What comes from later steps is thrown away, so each step learns only for its own output. All gradients are wrong,
#    except those at the last step; with an error at the last step alone, the earlier ones are 0. The network cannot
#    learn that anything should be kept for later.
# 4. In silence they are straight from the first step on, and there is no bend near the last: norm and spectral radius
#    are equal, and each step multiplies every arrow by exactly the radius.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** back-propagation through time for a *leaky* network. Its state keeps a part of itself as it is, and takes
# only a share, the leak, of what tanh makes; it starts at 0:
#
# $$\text{fresh}_t = \tanh(x_t W_\text{input} + \text{hidden}_{t-1} W_\text{hidden} + b) \qquad
#   \text{hidden}_t = (1 - \text{leak}) \; \text{hidden}_{t-1} + \text{leak} \; \text{fresh}_t$$
#
# The error comes in at every step. Forward is given, and keeps all states, the first one of zeros among them:
# `states[:, t]` is the state before step t. The leak is a number that needs no gradient.


# %%
def leaky(x, W_input, W_hidden, b, leak):
    """x (B, T, I), W_input (I, N), W_hidden (N, N), b (N,), leak a number -> the states (B, T, N), cache."""
    states, all_fresh = [np.zeros((len(x), len(b)))], []
    for t in range(x.shape[1]):
        fresh = np.tanh(x[:, t] @ W_input + states[t] @ W_hidden + b)  # (B, N)
        states.append((1 - leak) * states[t] + leak * fresh)  # (B, N)
        all_fresh.append(fresh)
    states, all_fresh = np.stack(states, axis=1), np.stack(all_fresh, axis=1)  # (B, T + 1, N), (B, T, N)
    return states[:, 1:], (x, W_input, W_hidden, leak, states, all_fresh)


def leaky_backward(doutputs, cache):
    """doutputs (B, T, N) -> dx (B, T, I), dW_input (I, N), dW_hidden (N, N), db (N,)."""
    x, W_input, W_hidden, leak, states, fresh = cache  # states (B, T + 1, N), fresh (B, T, N)
    ### BEGIN SOLUTION dx, dW_input, dW_hidden, db
    dx, dW_input, dW_hidden = np.zeros_like(x), np.zeros_like(W_input), np.zeros_like(W_hidden)
    db, later = np.zeros(len(W_hidden)), np.zeros_like(states[:, 0])
    for t in reversed(range(x.shape[1])):
        # outputs[:, t] = hidden, which the next step has read too
        dhidden = later + doutputs[:, t]
        # hidden = (1 - leak) * before + leak * fresh, and fresh = tanh(total)
        dtotal = leak * dhidden * (1 - fresh[:, t] ** 2)
        # total = x[:, t] @ W_input + before @ W_hidden + b
        dx[:, t] = dtotal @ W_input.T
        dW_input += x[:, t].T @ dtotal
        dW_hidden += states[:, t].T @ dtotal
        db += dtotal.sum(axis=0)
        later = (1 - leak) * dhidden + dtotal @ W_hidden.T
    return dx, dW_input, dW_hidden, db
    ### END SOLUTION


# %%
check.leaky_backward(leaky_backward)

# %% [markdown]
# ## Read
#
# - Pascanu, Mikolov & Bengio 2013, *On the difficulty of training recurrent neural networks*, arXiv:1211.5063: section
#   2 for the bound, algorithm 1 for clipping, and a wall like ours. One version speaks of the largest eigenvalue where
#   the bound needs the largest singular value; you now know the difference.
# - Bengio, Simard & Frasconi 1994, *Learning long-term dependencies with gradient descent is difficult*,
#   doi:10.1109/72.279181.
# - Elman 1990, *Finding structure in time*, doi:10.1207/s15516709cog1402_1: the network itself.
# - Saxe, McClelland & Ganguli 2013, arXiv:1312.6120: why orthogonal weights are a good place to start.
