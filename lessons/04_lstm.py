# %% [markdown]
# # 04 · The LSTM by hand
#
# **You will be able to** say what each gate of an LSTM does and why its memory is a sum; write the whole of its
# back-propagation through time; and say from a forget gate for how many steps it remembers.
#
# *Needs lesson 03. Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import tree
from minattn.attention import additive, dot
from minattn.classroom import agree, check, data, keep, source
from minattn.gradient_norms import norm
from minattn.models import pooling
from minattn.plots import gradient_flow
from minattn.plots.canvas import COLOURS
from minattn.recurrent import lstm, rnn

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Here is a task that needs a memory and nothing else, the **adding problem**. A network reads T numbers between 0 and
# 1, one at a time. Two of them are marked, one in each half. After the last it is to say the sum of those two. Whoever
# remembers nothing does best to say 1 every time, and is then wrong by 1/6 in the mean square.
#
# The plain recurrent network of lesson 03 has to squeeze the first number through every state that follows, each of
# them a tanh of the one before. The **LSTM** (*long short-term memory*) has a second vector for that, the **cell**, to
# which it adds and from which it takes. Three **gates**, numbers between 0 and 1 that it sets itself at every step,
# say how much:
#
# - the **input gate** i: how much of what is offered goes in;
# - the **forget gate** f: how much of what is there stays;
# - the **output gate** o: how much of it is shown.
#
# An LSTM with 32 cells has learned to add with T = 100 (`lessons/data/make_04_adding.py` trained it). One of its cells
# keeps most at its forget gate, on average over 200 new sequences. That one, on one of these:

# %%
trained = {name: array.astype(float) for name, array in data("04_adding.npz").items()}
learned = {name.removeprefix("read."): array for name, array in trained.items() if name.startswith("read.")}


def problem(rng, B, T):
    """inputs (B, T, 2): a number, and 1 where it is marked, else 0; and the sums (B, 1) of the two marked numbers."""
    numbers, marked, rows = rng.random((B, T)), np.zeros((B, T)), np.arange(B)
    marked[rows, rng.integers(T // 2, size=B)] = 1
    marked[rows, rng.integers(T // 2, T, size=B)] = 1
    return np.stack([numbers, marked], axis=-1), (numbers * marked).sum(axis=1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))  # between 0 and 1, and 1/2 at 0


def step(params, x, hidden, cell):
    """One step of an LSTM, in the library's order of the gates -> both states after it, and all that went on in it."""
    N = hidden.shape[1]
    total = x @ params["W_input"] + hidden @ params["W_hidden"] + params["b"]  # (B, 4N)
    i, f, g, o = (total[:, k * N : (k + 1) * N] for k in range(4))  # (B, N)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)  # (B, N)
    new = f * cell + i * g  # (B, N)
    return o * np.tanh(new), new, (x, hidden, cell, i, f, g, o, new)


def forward(params, inputs, hidden, cell):
    """inputs (B, T, I), first states (B, N) -> the hidden state after each step (B, T, N), and what went on in each."""
    outputs, kept = [], []
    for t in range(inputs.shape[1]):
        hidden, cell, some = step(params, inputs[:, t], hidden, cell)
        outputs.append(hidden)
        kept.append(some)
    return np.stack(outputs, axis=1), kept


def inside(kept):
    """i, f, g, o and the cell at every step, (B, T, N) each."""
    return [np.stack(part, axis=1) for part in list(zip(*kept, strict=True))[3:]]


N = 32
inputs, sums = problem(np.random.default_rng(3), 200, 100)
outputs, kept = forward(learned, inputs, np.zeros((200, N)), np.zeros((200, N)))
i, f, g, o, cell = inside(kept)
guesses = outputs[:, -1] @ trained["W_out"] + trained["b_out"]
print(f"mean squared error {np.mean((guesses - sums) ** 2):.4f}; always saying 1 has {np.mean((1 - sums) ** 2):.3f}")
keeper = f.mean(axis=(0, 1)).argmax()
print(f"the cell that keeps most: its forget gate is {f[..., keeper].mean():.3f} on average")

# %%
one, steps = 2, np.arange(100)
marks = np.flatnonzero(inputs[one, :, 1])
figure, (top, middle, bottom) = plt.subplots(
    3, 1, figsize=(9, 6.6), height_ratios=[2, 2, 3], sharex=True, layout="constrained"
)
numbers = inputs[one, :, 0]
top.bar(steps, numbers, color="#cccccc", label="not marked")
top.bar(marks, numbers[marks], color=COLOURS[1], label="marked")
top.set(
    ylabel="number read",
    title=f"The conveyor: filled twice, kept in between ({numbers[marks[0]]:.2f} + {numbers[marks[1]]:.2f} = "
    f"{sums[one, 0]:.2f}, its answer {guesses[one, 0]:.2f})",
)
middle.plot(steps, f[one, :, keeper], color=COLOURS[0], label="forget gate")
middle.plot(steps, i[one, :, keeper], color=COLOURS[2], linestyle="--", label="input gate")
middle.set(ylabel="gate", ylim=(-0.05, 1.08))
bottom.plot(steps, cell[one, :, keeper], color="black", label="the cell")
bottom.plot(
    steps, g[one, :, keeper], color=COLOURS[3], linewidth=0.9, linestyle=":", marker=".", label="what is offered to it"
)
bottom.set(ylabel="cell", xlabel="step")
for ax in (top, middle, bottom):
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
keep(figure, "04_conveyor")

# %% [markdown]
# Something is offered at every step. The input gate is shut but for two steps, and those are the marked ones; the
# forget gate stays at 1 or close to it. So the cell is a staircase with two steps, almost level between, and nobody
# has told it so. What goes in is not the number itself but something that rises with it; the output layer puts that
# right.
#
# How long does it take to learn that? Three networks at T = 50, 100 and 200: a plain RNN, an LSTM, and for comparison
# **attention** without any recurrence, a learned query that looks at all T inputs at once and takes one average of
# them: lesson 01, with a question that is learned. (In the table below it is there once more, with the additive score
# of lesson 06.) All have the same budget and the same settings, which were tuned for none of them.

# %%
results = data("04_adding.json")
settings = results["settings"]
print(settings)
print("sequences seen by each:", settings["updates"] * settings["batch"])

rng = np.random.default_rng(0)
sizes = {
    "RNN": rnn.init(rng, I=2, N=settings["N"]),
    "LSTM": lstm.init(rng, I=2, N=settings["N"]),
    "attention": pooling.init(rng, M=2, attention=dot),
    "additive attention": pooling.init(rng, M=2, A=settings["N"], attention=additive),
}
for name, params in sizes.items():
    print(f"{name:18} {sum(array.size for _, array in tree.leaves(params)):5} parameters, and an output layer")

# %%
looks = {"RNN": (COLOURS[2], ":"), "LSTM": (COLOURS[0], "-"), "attention": (COLOURS[1], "--")}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), sharey=True, layout="constrained")
for ax, (T, curves) in zip(axes, results["curves"].items(), strict=True):
    for name, (colour, dash) in looks.items():
        for seed, curve in enumerate(curves[name]):
            places = settings["every"] * (np.arange(len(curve)) + 0.5)
            ax.plot(places, curve, color=colour, linestyle=dash, label=name if seed == 0 else None)
    ax.axhline(1 / 6, color="black", linewidth=0.8, label="always saying 1")
    ax.set(yscale="log", xlabel="updates", title=f"T = {T}")
axes[0].set_ylabel("mean squared error")
figure.suptitle("Adding two of T numbers: what remembers, and how soon (one line a seed)")
handles, names = axes[0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=4, handlelength=3)
keep(figure, "04_adding")

# %%
print(f"mean squared error on {settings['tested']} new sequences after {settings['updates']} updates, seed by seed;")
print("and the updates after which it was below 1/12, half of what always saying 1 has (- where it never was)")
for T, tests in results["tests"].items():
    print(f"T = {T}")
    for name, errors in tests.items():
        below = [np.flatnonzero(np.array(curve) < 1 / 12) for curve in results["curves"][T][name]]
        when = (f"{settings['every'] * (places[0] + 1)}" if places.size else "-" for places in below)
        print(f"  {name:18}", "  ".join(f"{error:.4f}" for error in errors), "  ", *(f"{each:>5}" for each in when))

# %% [markdown]
# - The **RNN** stays at the black line, or jumps above it, for the whole budget, at every length. It has learned that
#   the sum is about 1.
# - The **LSTM** lies on that line too, for hundreds of updates, and then falls off it at once. Lesson 03 suggests why:
#   as soon as some cell keeps a little of the first number, more of the error comes back to it, and it learns to keep
#   more. The longer the sequence, the longer it waits; at T = 200 one seed of three has not got there by the end.
# - **Attention** leaves the line at about the same time whatever T is, but for one seed: each number is one step away
#   from the answer, and not T. It ends higher than an LSTM in most runs. The additive score, with more parameters,
#   comes down still sooner in most, and gets stuck altogether in one.
#
# Attention with two numbers for a query can be read. The score of an input is its number times the first plus its mark
# times the second, over $\sqrt 2$:

# %%
print("   T   query: number, mark   output layer: number, mark     error")
for T, runs in results["attention"].items():
    for run, error in zip(runs, results["tests"][T]["attention"], strict=True):
        (on_number, on_mark), (number, mark) = np.round([run["query"], run["W_out"]], 1) + 0.0  # no -0.0
        print(f"{T:>4}   {on_number:13.1f} {on_mark:7.1f}   {number:20.1f} {mark:7.1f}   {error:8.4f}")

# %% [markdown]
# The smallest errors stand where the query asks for the mark alone: both marked inputs get the same weight, and the
# output layer doubles their average, more or less. Everywhere else the query asks for the number as well. Then larger
# numbers draw more weight (or smaller ones do, where it stands there with a minus), the *share of marks* in the average
# tells how large the marked ones are, and the output layer reads the answer off that. It is another way to add, and not
# an exact one.
#
# These are three seeds and one setting. A plain recurrent network can learn to add too, with other units and other
# weights to start from (Le, Jaitly & Hinton 2015, with relu and the identity); what is shown is what the settings
# above, the same for all, lead to.

# %% [markdown]
# ## Compute
#
# One cell, three steps. To keep it on paper the gates listen to the input alone, and not to the last hidden state:
#
# | gate | what is in it | at x = 1 | at x = 0 |
# |---|---|---|---|
# | input gate i | sigmoid(4x − 2) | sigmoid(2) = 0.881 | sigmoid(−2) = 0.119 |
# | forget gate f | sigmoid(2) | 0.881 | 0.881 |
# | offer g | tanh(x) | 0.762 | 0 |
# | output gate o | sigmoid(0) | 0.5 | 0.5 |
#
# Forward down the table, backward up its last column. The gradient asked for is that of the last hidden state. (More
# digits were carried than are shown, so a last digit may differ by one from yours.)
#
# | step | x | cell = f · cell before + i · g | hidden = o · tanh(cell) | gradient at the cell |
# |---|---|---|---|---|
# | 1 | 1 | 0 + 0.881 · 0.762 = 0.671 | 0.5 · 0.586 = 0.293 | 0.340 · 0.881 = 0.299 |
# | 2 | 0 | 0.881 · 0.671 + 0 = 0.591 | 0.5 · 0.531 = 0.265 | 0.386 · 0.881 = 0.340 |
# | 3 | 0 | 0.881 · 0.591 + 0 = 0.520 | 0.5 · 0.478 = 0.239 | 0.5 · (1 − 0.478²) = 0.386 |
#
# At the last step the gradient comes in through the output gate and the slope of tanh. From then on each step back
# costs the forget gate, and nothing else: no weight, no slope of tanh. The same in the library, whose last axis holds
# the four gates in the order i f g o:

# %%
params = {
    "W_input": np.array([[4.0, 0.0, 1.0, 0.0]]),  # (I, 4N)
    "W_hidden": np.zeros((1, 4)),  # (N, 4N)
    "b": np.array([-2.0, 2.0, 0.0, 0.0]),  # (4N,)
}
three = np.array([[[1.0], [0.0], [0.0]]])  # (B, T, I)
shown, kept = forward(params, three, np.zeros((1, 1)), np.zeros((1, 1)))
i_3, f_3, g_3, o_3, cell_3 = inside(kept)
for name, part in {"i": i_3, "f": f_3, "g": g_3, "o": o_3, "cell": cell_3, "hidden": shown}.items():
    print(f"{name:6}", part[0, :, 0])

last_slope = o_3[0, 2, 0] * (1 - np.tanh(cell_3[0, 2, 0]) ** 2)
dcell = last_slope * f_3[0, 0, 0] ** np.array([2, 1, 0])
print("dcell ", dcell)

(library, _), cache = lstm.forward(params, three)
agree(shown, library)
reach = lstm.flow((None, lstm.State(np.ones((1, 1)), np.zeros((1, 1)))), cache).reach
agree(dcell[:2], reach.cell[0, :2, 0])  # at the last step it has 0 here, and 1 in reach.hidden

# %% [markdown]
# *You can go on to lesson 05 from here. What follows derives the whole backward pass, for any width and with gates
# that listen to the hidden state too.*

# %% [markdown]
# ## Derive
#
# Four sums are made as in lesson 03, each with weights of its own. Three become gates, the fourth an offer:
#
# $$i, f, o = \sigma(x_t W_\text{input} + \text{hidden}_{t-1} W_\text{hidden} + b) \qquad
#   g = \tanh(x_t W_\text{input} + \text{hidden}_{t-1} W_\text{hidden} + b)$$
#
# $$\text{cell}_t = f \odot \text{cell}_{t-1} + i \odot g \qquad \text{hidden}_t = o \odot \tanh(\text{cell}_t)$$
#
# That is `step` above. The four lie side by side in one array of width 4N, so one product serves them all. The cell
# never passes a matrix and is never squashed on its way to the next step. Hochreiter & Schmidhuber (1997) had no
# forget gate, f = 1 throughout, and called this the *constant error carousel*; Gers, Schmidhuber & Cummins (2000) let
# it forget, since a cell that only adds grows without end when sequences follow one another.
#
# **Backward through one step.** Given are the gradients at both states after the step, each with what later steps have
# sent. The forward lines in reverse:
#
# 1. $\text{hidden} = o \odot \tanh(\text{cell})$ gives
#    $\text{d}o = \text{dhidden} \odot \tanh(\text{cell})$, and to the cell it adds
#    $\text{dcell} \mathrel{+}= \text{dhidden} \odot o \odot (1 - \tanh(\text{cell})^2)$.
# 2. $\text{cell} = f \odot \text{cell}_{t-1} + i \odot g$ gives $\text{d}f = \text{dcell} \odot \text{cell}_{t-1}$,
#    $\text{d}i = \text{dcell} \odot g$, $\text{d}g = \text{dcell} \odot i$, and the one that matters,
#    $\text{dcell}_{t-1} = \text{dcell} \odot f$.
# 3. The slope of a sigmoid is $y (1 - y)$ where $y$ is what it gave, that of tanh $1 - y^2$: so from di, df, dg and do
#    come the gradients at the four sums, dtotal, side by side again.
# 4. The sums are a linear layer: $\text{dhidden}_{t-1} = \text{dtotal} \, W_\text{hidden}^\top$,
#    $\text{d}x_t = \text{dtotal} \, W_\text{input}^\top$, and for the weights, summed over the steps,
#    $\text{d}W_\text{hidden} \mathrel{+}= \text{hidden}_{t-1}^\top \text{dtotal}$,
#    $\text{d}W_\text{input} \mathrel{+}= x_t^\top \text{dtotal}$.


# %%
def step_backward(dhidden, dnew, params, kept):
    """The gradients at both states after the step -> at x, at both states before it, and at the sums."""
    x, hidden, cell, i, f, g, o, new = kept
    # hidden = o * tanh(new)
    do = dhidden * np.tanh(new)
    dnew = dnew + dhidden * o * (1 - np.tanh(new) ** 2)
    # new = f * cell + i * g
    di, df, dg, dcell = dnew * g, dnew * cell, dnew * i, dnew * f
    # i, f, g, o = sigmoid, sigmoid, tanh, sigmoid
    dtotal = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
    # total = x @ W_input + hidden @ W_hidden + b
    return dtotal @ params["W_input"].T, dtotal @ params["W_hidden"].T, dcell, dtotal


# %% [markdown]
# And the loop over time, backward. Both states go back from step to step; the outputs' own gradients join on the way.


# %%
def backward(doutputs, params, kept):
    dhidden = dcell = np.zeros_like(doutputs[:, 0])  # nothing comes from beyond the last step
    dparams = {name: np.zeros_like(array) for name, array in params.items()}
    dinputs = [None] * len(kept)
    for t in reversed(range(len(kept))):
        x, hidden = kept[t][:2]
        # outputs[:, t] = hidden
        dhidden = dhidden + doutputs[:, t]
        # hidden, cell = step(x, hidden, cell)
        dinputs[t], dhidden, dcell, dtotal = step_backward(dhidden, dcell, params, kept[t])
        dparams["W_input"] += x.T @ dtotal
        dparams["W_hidden"] += hidden.T @ dtotal
        dparams["b"] += dtotal.sum(axis=0)
    return np.stack(dinputs, axis=1), dhidden, dcell, dparams


# %% [markdown]
# This is *full* back-propagation through time. The paper of 1997 cut it short: what would flow back into the gates
# through the hidden state, line 4's $\text{dhidden}_{t-1}$, was set to 0, and the conveyor alone carried the error.
# With the chain rule applied throughout, as by Graves & Schmidhuber (2005), a gradient check can prove it.

# %% [markdown]
# ## Equal to the library

# %%
rng = np.random.default_rng(1)
B, T, I, N = 3, 7, 5, 4
params = lstm.init(rng, I=I, N=N)
inputs_here, hidden_start, cell_start = rng.normal(size=(B, T, I)), rng.normal(size=(B, N)), rng.normal(size=(B, N))
doutputs = rng.normal(size=(B, T, N))

(outputs, _), cache = lstm.forward(params, inputs_here, lstm.State(hidden_start, cell_start))
my_outputs, kept = forward(params, inputs_here, hidden_start, cell_start)
agree(my_outputs, outputs)

(dinputs, dstart), dparams = lstm.backward((doutputs, None), cache)
my_dinputs, my_dhidden, my_dcell, my_dparams = backward(doutputs, params, kept)
agree(my_dinputs, dinputs)
agree(my_dhidden, dstart.hidden)
agree(my_dcell, dstart.cell)
agree(my_dparams, dparams)

# %% [markdown]
# One bias is special. The forget gate starts with bias 1, all others with 0, so that it is open from the first update
# on:

# %%
print("biases i f g o of a new LSTM with N = 4:", lstm.init(rng, I=I, N=N)["b"].reshape(4, N).tolist())
print(f"an open gate: sigmoid(1) = {sigmoid(1):.2f}; without the bias: sigmoid(0) = {sigmoid(0):.2f}")

# %% [markdown]
# The library's code has the same lines in another order, for speed: one tanh gives all four gates, since
# $\sigma(x) = \tanh(x / 2) / 2 + 1/2$, and in memory the three that are sigmoids lie side by side, i f o g; and the
# slopes, which do not depend on the gradient, are found for many steps at once.

# %%
source(lstm.move, lstm.slopes, lstm._of_sigmoid, lstm._of_tanh, lstm.move_backward)

# %% [markdown]
# ## A surprise
#
# A forget gate of 0.9 sounds like keeping. After fifty steps the gradient along the conveyor has passed it fifty
# times:

# %%
print("forget gate   left after 50 steps   halved every")
for gate in (1.0, 0.99, 0.9, sigmoid(1), 0.6):
    halved = f"{np.log(2) / -np.log(gate):5.1f} steps" if gate < 1 else "never"
    print(f"{gate:11.2f}   {gate**50:19.2g}   {halved:>12}")

# %% [markdown]
# Half of a percent is left at 0.9, and at sigmoid(1) = 0.73, where our LSTM starts, less than a millionth. How much of
# what the adding problem's answer sends back reaches the first steps, in networks that have learned nothing yet, and
# in the one that has? All get the same vector at their last hidden state, that of the trained output layer.

# %%
T = 100


def conveyor(gate):
    """The gradient at the cell of one unit whose forget gate is held there, from the library."""
    params = {
        "W_input": np.zeros((1, 4)),
        "W_hidden": np.zeros((1, 4)),
        "b": np.array([0, np.log(gate / (1 - gate)), 0, 0]),
    }
    _, cache = lstm.forward(params, np.zeros((1, T, 1)))
    return lstm.flow((None, lstm.State(np.zeros((1, 1)), np.ones((1, 1)))), cache).reach.cell[0, :, 0]  # (T,)


alone = {f"forget gate {gate:g}": conveyor(gate) for gate in (0.999, 0.99, 0.9, 0.73)}
agree(alone["forget gate 0.9"], 0.9 ** np.arange(T)[::-1])


def arriving(cell, params):
    """Norm of the gradient at the states after each step, hidden and cell together, for 200 sequences (B, T)."""
    (_, last), cache = cell.forward(params, inputs)
    dhidden = np.broadcast_to(trained["W_out"].T, last.hidden.shape)  # at the answer it is 1
    dlast = tree.map(np.zeros_like, last)._replace(hidden=dhidden)  # an LSTM's last cell is not asked
    return norm(*cell.flow((None, dlast), cache).reach)


def with_forget_bias(bias):
    params = lstm.init(np.random.default_rng(0), I=2, N=32)
    params["b"][32:64] = bias
    return params


networks = {
    "RNN, new": arriving(rnn, rnn.init(np.random.default_rng(0), I=2, N=32)),
    "LSTM, new, forget bias 0": arriving(lstm, with_forget_bias(0)),
    "LSTM, new, forget bias 1": arriving(lstm, with_forget_bias(1)),
    "LSTM, new, forget bias 5": arriving(lstm, with_forget_bias(5)),
    "LSTM, trained": arriving(lstm, learned),
}

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
gradient_flow(alone, ax=left, xlabel="step (99 is the last)", title="The conveyor alone:\nas good as its forget gate")
gradient_flow(
    networks, ax=right, xlabel="step (99 is the last)", title="The adding problem:\nhow much of the last step arrives"
)
keep(figure, "04_gradient_flow")

# %%
for name, norms in networks.items():
    middle = np.median(norms, axis=0)
    print(f"{name:25} a step back multiplies by {(middle[10] / middle[80]) ** (1 / 70):.3f}")

# %% [markdown]
# With a forget bias of 0 the LSTM is no better than the RNN: of the first number nothing arrives. With 1 a great deal
# more does, though still little. With 5 it first falls to about a tenth, then grows beyond what was sent: the conveyor
# is not the only way back. The gates listen to the hidden state, and along $W_\text{hidden}$ gradients can grow as in
# lesson 03, so LSTMs are clipped too. The trained one has found the level line by itself.
#
# So an LSTM does not do away with vanishing. It makes of the factor per step, which in an RNN is what a matrix and the
# slopes of tanh happen to give, a number that it can set: for each cell, at each step.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** Which forget bias keeps half of a gradient for 100 steps? ($f^{100} = 1/2$, then
#    $b = \log(f / (1 - f))$.)
# 2. **Predict.** The attention network puts weight 1/2 on each of the two marked inputs. What must its output layer
#    do? Could it also say *the first minus the second*?
# 3. **Mend.** Somebody writes `dnew = dhidden * o * (1 - np.tanh(new) ** 2)` in `step_backward`, without `dnew +`. It
#    runs and it trains, badly. What has been cut?
# 4. **Write.** A unit test for exercise 3: with the broken line, which `agree` in *Equal to the library* fails? Is
#    there a number of steps T for which none does?
#
# <details><summary>Answers</summary>
#
# 1. f = 0.5^(1/100) = 0.9931, b = log(0.9931 / 0.0069) = 4.97. For T steps a good rule is log(T): 4.6 for 100.
# 2. The average of the two is half of the sum, so the output layer doubles the number and ignores the mark. The
#    difference it cannot say: shuffle the inputs, and the average of [number, mark] is the same. It would have to be
#    told where each input stands, which is what lesson 09 is about.
# 3. The conveyor: what later steps have sent to the cell is thrown away. What is left goes through `hidden` alone, an
#    RNN's way, with an RNN's fate.
# 4. All but the first, that of the outputs: forward is right. With T = 1 none fails, since nothing comes from a later
#    step. Check a recurrence with at least three steps.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Predict.** In *Compute* the output gate is shut at steps 1 and 2, o = 0; at step 3 it is 0.5, as it was. The error
# still comes in at the last hidden state alone. What was 0.299, the gradient at the first cell, is now
#
# - a: 0, since nothing passes a gate that is shut
# - b: less than 0.299, but not 0, since what came back by the hidden states of steps 1 and 2 is missing
# - c: 0.299, as before

# %%
### BEGIN SOLUTION
shut_gate = "c"
### END SOLUTION
check.shut_gate(shut_gate)

# %% [markdown]
# **Write** the backward of one step of an LSTM with *coupled* gates: it takes in just as much as it forgets, so its
# input gate is 1 - f, and three sums do where four were needed. They lie side by side in `total`, in the order f g o.
# Error comes to both states after the step, and `dout` holds the two gradients, as `out` holds the two states.


# %%
def coupled(total, cell):
    """total (B, 3N), cell (B, N), the one before the step -> (hidden, new), (B, N) each, those after it, and cache."""
    f, g, o = np.split(total, 3, axis=1)  # (B, N) each
    f, g, o = 1 / (1 + np.exp(-f)), np.tanh(g), 1 / (1 + np.exp(-o))  # (B, N) each
    new = f * cell + (1 - f) * g  # (B, N)
    hidden = o * np.tanh(new)  # (B, N)
    return (hidden, new), (cell, f, g, o, new)


def coupled_backward(dout, cache):
    """dout = dhidden, dnew, (B, N) each -> dtotal (B, 3N), dcell (B, N)."""
    dhidden, dnew = dout
    cell, f, g, o, new = cache
    ### BEGIN SOLUTION dtotal, dcell
    # hidden = o * shown, where shown = tanh(new)
    shown = np.tanh(new)
    do = dhidden * shown
    dnew = dnew + dhidden * o * (1 - shown**2)
    # new = f * cell + (1 - f) * g
    df = dnew * (cell - g)
    dg = dnew * (1 - f)
    dcell = dnew * f
    # f, g, o = sigmoid, tanh, sigmoid of the three parts of total
    dtotal = np.concatenate([df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
    return dtotal, dcell
    ### END SOLUTION


# %%
check.coupled_backward(coupled_backward)

# %% [markdown]
# ## Read
#
# - Hochreiter & Schmidhuber 1997, *Long short-term memory*, doi:10.1162/neco.1997.9.8.1735: section 3.2 for the
#   carousel, 5.4 for the adding problem. There the numbers lie between -1 and 1 and the lengths vary; its figures are
#   not reproduced here.
# - Gers, Schmidhuber & Cummins 2000, *Learning to forget*, doi:10.1162/089976600300015015: the forget gate.
# - Graves & Schmidhuber 2005, *Framewise phoneme classification with bidirectional LSTM*,
#   doi:10.1016/j.neunet.2005.06.042: the full gradient.
# - Le, Jaitly & Hinton 2015, arXiv:1504.00941: the adding problem by a recurrent network of relu units.
# - Jozefowicz, Zaremba & Sutskever 2015, *An empirical exploration of recurrent network architectures*: what a forget
#   bias of 1 is worth.
# - Tallec & Ollivier 2018, *Can recurrent neural networks warp time?*, arXiv:1804.11188: forget biases from the
#   lengths that are to be remembered.
