# %% [markdown]
# # 13 · A language model by hand
#
# **You will be able to** train a model that guesses the next character; say how good it is against models that count,
# in nats a character; draw text from it at a temperature; and say why an embedding that is used twice gets two
# gradients.
#
# *Needs lessons 02 (cross-entropy, a training loop), 08 (the causal mask) and 11 (the block). Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import optim, training, tree
from minattn.classroom import agree, check, data, keep, source
from minattn.data import manual
from minattn.functions import embedding, log_softmax, softmax
from minattn.gradcheck import gradcheck
from minattn.masks import causal
from minattn.models import block, language_model
from minattn.op import bind
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# The text is the manual of Python, which comes with every Python; a tenth of its topics is kept for *validation* and
# never trained on. (It changes a little with the version of Python, and the last digits of this lesson with it.) A
# **language model** reads the characters so far and gives every character of the alphabet a probability of being the
# next. It is judged by its **surprise** at the one that does come, $-\log p$, in *nats*: 0 if it was certain, 0.69 if
# it gave it one half, 4.6 if it gave it one in a hundred. Its **loss** is the mean surprise.
#
# What would a good loss be? Three models that only count give an idea. The *uniform* one knows nothing, the *unigram*
# knows how often each character comes, and the *bigram* how often each comes after each other one.

# %%
text = manual.load()
V = len(manual.ALPHABET)
print(f"{len(text.train):,} characters to train on, {len(text.valid):,} for validation, an alphabet of {V}")

BLOCK = 64  # characters that a model sees at once
rows = text.valid[: 64 * (BLOCK + 1)].reshape(64, -1)  # (B, T + 1)  what all models are judged by
before, after = rows[:, :-1], rows[:, 1:]  # (B, T) each

ones = np.bincount(text.train, minlength=V) + 1.0  # (V,)  1 more, so that nothing is impossible
pairs = np.ones((V, V))  # (V, V)  [before, after]
np.add.at(pairs, (text.train[:-1], text.train[1:]), 1)

counting = {
    "uniform": np.log(V),
    "unigram": -np.log(ones / ones.sum())[after].mean(),
    "bigram": -np.log(pairs / pairs.sum(axis=1, keepdims=True))[before, after].mean(),
}
for name, loss in counting.items():
    print(f"{name}  {loss:.2f} nats a character")

# %% [markdown]
# And the two models that learn: a Transformer of two layers and an LSTM, of about the same number of parameters, each
# trained on as many pieces of the same text, three times from different starts. `lessons/data/make_13_writers.py` did
# it, in some minutes on one core.

# %%
kept = data("13_writers.json")
names = {name: f"{name} ({kept['parameters'][name]:,} parameters)" for name in kept["losses"]}

figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
for (name, losses), colour, marker, line in zip(kept["losses"].items(), COLOURS, "os", ("-", "--"), strict=False):
    for seed, each in enumerate(losses):
        ax.plot(
            kept["updates"],
            each,
            line,
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.3,
            label=names[name] if seed == 0 else None,
        )
for name, loss in counting.items():
    ax.axhline(loss, color="#777777", linewidth=1)
    ax.text(kept["updates"][-1], loss + 0.04, f"{name}, {loss:.2f}", ha="right", color="#555555")
ax.set(
    title="Both learn to count within a hundred updates, and then more",
    xlabel=f"updates, each on {kept['batch']} pieces of {kept['T']} characters",
    ylabel="validation loss (nats a character)",
    ylim=(1.5, None),
)
ax.legend(loc="upper center")
keep(figure, "13_loss")

for name, losses in kept["losses"].items():
    print(f"{name:11}  after {kept['updates'][-1]} updates:", ", ".join(f"{each[-1]:.2f}" for each in losses))

# %% [markdown]
# The first updates teach a model which characters are common, and then which follows which: it falls through the
# lines of the models that count. Below the last line it must remember more than one character. With this budget the
# Transformer gets further than the LSTM in every one of the three runs. It is a small budget, a small model, and one
# text; what the figure says holds for these.

# %% [markdown]
# ### Where is it surprised?
#
# The mean hides where the surprise lies. Here is a piece of the validation text: the darker a character, the more it
# surprised the Transformer.

# %%
weights, _ = data("13_writers.npz")
weights = tree.astype(weights, np.float32)
model = bind(language_model, positions="rotary", activation="gelu_tanh")

logits, _ = model.forward(weights, before)  # (B, T, V)
surprise = -np.take_along_axis(log_softmax(logits), after[..., None], -1)[..., 0]  # (B, T)

start, count = 8, 6
figure, ax = plt.subplots(figsize=(9.5, 2.9), layout="constrained")
shown = surprise[start : start + count]
image = ax.imshow(shown, cmap="YlOrRd", vmin=0, vmax=6, aspect="auto")
for (row, place), nats in np.ndenumerate(shown):
    character = manual.decode([after[start + row, place]])
    symbol = {"\n": "¶", " ": "␣"}.get(character, character)
    ax.text(
        place,
        row,
        symbol,
        ha="center",
        va="center",
        fontsize=9,
        family="DejaVu Sans Mono",
        color="white" if nats > 4 else "black",
        parse_math=False,
    )
ax.set(yticks=[], xlabel="place in the piece (characters)", title="Surprise is highest where something new begins")
figure.colorbar(image, ax=ax, label="surprise (nats)")
keep(figure, "13_surprise")

# %%
letter = np.array([character.isalpha() for character in manual.ALPHABET])
space = np.array([character in " \n" for character in manual.ALPHABET])
kinds = {
    "first letter of a word": letter[after] & ~letter[before],
    "any later letter": letter[after] & letter[before],
    "space or new line": space[after],
    "all others": ~letter[after] & ~space[after],
}
for name, where in kinds.items():
    print(f"{name:22}  {where.mean():4.0%} of the characters, mean surprise {surprise[where].mean():.1f} nats")

# %% [markdown]
# What comes next is decided where something begins. Once a word has begun, spelling it is far easier. (There are
# exceptions: a rare word surprises in its middle, too.)

# %% [markdown]
# ## Compute
#
# Three characters by hand. The alphabet is a, b, c, and after some text the model's last row gives the logits 2, 1, 0.
#
# | | logit | e to that | probability | surprise if it comes |
# |---|---|---|---|---|
# | a | 2 | 7.389 | 7.389 / 11.107 = 0.665 | 0.408 |
# | b | 1 | 2.718 | 2.718 / 11.107 = 0.245 | 1.408 |
# | c | 0 | 1 | 1 / 11.107 = 0.090 | 2.408 |
# | sum | | 11.107 | 1 | |
#
# To write, *draw* a character with these probabilities, put it at the end of the text, and ask again. Two knobs
# change what is drawn. A **temperature** divides the logits first: below 1 the likely gets likelier, above 1 all
# become more alike. **top_p** keeps the likeliest characters, as few as together reach probability p, and gives them
# what the others had: the long tail of unlikely characters, each rare but many in number, is cut off.
#
# | | a | b | c |
# |---|---|---|---|
# | temperature 1 | 0.665 | 0.245 | 0.090 |
# | temperature 0.5: logits 4, 2, 0 | 0.867 | 0.117 | 0.016 |
# | temperature 2: logits 1, 0.5, 0 | 0.506 | 0.307 | 0.186 |
# | top_p 0.9: a and b reach 0.910 | 0.731 | 0.269 | 0 |

# %%
row = np.array([2.0, 1.0, 0.0])  # (V,)
print("surprise       ", -log_softmax(row))
for temperature in (1.0, 0.5, 2.0):
    print("temperature", temperature, softmax(row / temperature))

draws = np.repeat(row[None], 20_000, axis=0)  # (B, V)
tokens = language_model.choose(draws, np.random.default_rng(0), top_p=0.9)  # (B,)
print("top_p 0.9, drawn 20,000 times:", (np.bincount(tokens, minlength=3) / len(tokens)).round(2))

# %% [markdown]
# The Transformer of the figure, from three beginnings, at several temperatures. The texts are as long as the pieces
# it was trained on: further on it has never been.

# %%
beginnings = ("The ", "If the", "A list")
for temperature, top_p in ((0.3, None), (0.7, None), (1.0, None), (1.0, 0.8), (1.5, None)):
    print(f"temperature {temperature}" + (f", top_p {top_p}" if top_p else ""))
    for beginning in beginnings:
        prompt, rng = manual.encode(beginning)[None], np.random.default_rng(3)  # (1, T), and the same luck each time
        steps = BLOCK - len(beginning)
        written = model.generate(weights, prompt, steps=steps, rng=rng, temperature=temperature, top_p=top_p)
        print("   ", manual.decode(written[0]).replace("\n", "¶"))

# %% [markdown]
# Cold text is made of common words and little else. Hot text falls apart into characters. In between it looks like the
# manual from some distance, and means nothing: two layers and a hundred thousand parameters learn spelling and a little
# layout.
#
# *You can go on to lesson 14 from here. What follows says why the loss is what it is, trains a model from its start,
# and goes backward through the table that is read twice.*

# %% [markdown]
# ## Derive
#
# The probability of a text is a product, each character given all before it:
#
# $$p(\text{text}) = \prod_t p(\text{token}_t \mid \text{token}_0, \dots, \text{token}_{t-1})$$
#
# Its logarithm is a sum, so the mean surprise is the negative logarithm of the probability of the whole text, divided
# by its length: the loss asks that the text itself be likely. One forward pass gives all of these factors but the
# first, since the causal mask lets row t see the tokens up to t, and the *target* of row t is token t + 1: inputs and
# targets are the same tokens, shifted by one.
#
# **The model.** $E$ is the table of embeddings (V, M), and the model is a stack of the blocks of lesson 11:
#
# $$x = E[\text{tokens}], \qquad x \leftarrow \text{blocks}(x), \qquad \text{normed} = \text{norm}(x), \qquad
#   \text{logits} = \text{normed}\; E^\top$$
#
# The last product compares each row with the embedding of every character. The table is used twice, once to read and
# once to write: the embeddings are **tied**. That saves V M parameters, and it makes sense: characters that are read
# alike are written in like places.
#
# **Backward.** At the logits the gradient is (predicted - desired) over the number of characters, as in lesson 02.
# $E$ was used in two places, so two gradients arrive at it, and they are added:
#
# $$dE_v \;=\; \underbrace{\sum_{t:\; \text{token}_t = v} dx_t}_{\text{it was read}} \;+\;
#   \underbrace{\sum_t d\text{logits}_{tv}\; \text{normed}_t}_{\text{it was compared with}}$$
#
# The first reaches only the characters that occur in the batch. The second reaches all of them: every character that
# was not the right answer is pushed away a little.

# %% [markdown]
# ## Equal to the library
#
# The forward pass from its parts, in float64:

# %%
exact = tree.astype(weights, np.float64)
x = embedding(exact["embed"], before[:4])  # (B, T, M)
normed, _ = block.stack(
    exact["blocks"], exact["norm"], x, mask=causal(), rotary="interleaved", activation="gelu_tanh"
)  # (B, T, M)
by_parts = normed @ exact["embed"].T  # (B, T, V)
logits, cache = model.forward(exact, before[:4])
agree(by_parts, logits)

# %% [markdown]
# The two gradients. A twin of the model has a second table for the output, with the same numbers in it: the twin
# computes the same, but each of its tables gets the gradient of one place. Added, they are the gradient of the tied
# table.

# %%
desired = np.eye(V)[after[:4]]  # (B, T, V)
dlogits = (softmax(logits) - desired) / after[:4].size  # (B, T, V)
_, tied = model.backward(dlogits, cache)

twin = exact | {"W_out": exact["embed"].T.copy()}  # (M, V)
_, twin_cache = model.forward(twin, before[:4])
_, apart = model.backward(dlogits, twin_cache)
agree(apart["embed"] + apart["W_out"].T, tied["embed"])
agree(np.einsum("btv,btm->vm", dlogits, normed), apart["W_out"].T)

read, compared = (np.sqrt((d**2).sum(axis=1)) for d in (apart["embed"], apart["W_out"].T))  # (V,) each
print(f"characters in these {before[:4].size}: {len(np.unique(before[:4]))} of {V}")
print(f"rows of the table that get a gradient from being read:     {(read > 0).sum()}")
print(f"rows of the table that get one from being compared with:   {(compared > 0).sum()}")

# %%
order = np.argsort(-ones)[:40]  # the commonest characters
names = [{" ": "␣", "\n": "¶"}.get(manual.ALPHABET[i], manual.ALPHABET[i]) for i in order]
figure, ax = plt.subplots(figsize=(9.5, 3.8), layout="constrained")
places = np.arange(len(order))
ax.bar(places - 0.2, read[order], 0.4, color=COLOURS[0], label="because it was read")
ax.bar(places + 0.2, compared[order], 0.4, color=COLOURS[1], label="because every row was compared with it")
ax.set_xticks(places, names, parse_math=False)
ax.set(
    title="One table, two gradients: what each character's embedding receives",
    xlabel="the 40 commonest characters (␣ space, ¶ new line)",
    ylabel="norm of the gradient",
)
ax.legend()
keep(figure, "13_two_gradients")

# %% [markdown]
# The whole model under the gradient check, at a small size:

# %%
rng = np.random.default_rng(0)
small = language_model.init(rng, V=7, M=4, H=2, L=2, F=5)
report = gradcheck(
    language_model, inputs=(rng.integers(7, size=(2, 3)),), params=small, options={"positions": "rotary"}
)
print(f"{len(report.rows)} arrays, all right: {all(row.error <= 1e-12 for row in report.rows)} (error <= 1e-12)")

# %% [markdown]
# And a training from the start, the first eighty updates: pieces from random places, the loss and its gradients, a
# step of Adam.

# %%
rng = np.random.default_rng(0)
params = language_model.init(rng, V=V, M=64, H=4, L=2)
flat = optim.Flat(tree.astype(params, np.float32))
for update in range(81):
    starts = rng.integers(len(text.train) - BLOCK - 1, size=32)
    pieces = text.train[starts[:, None] + np.arange(BLOCK + 1)]  # (B, T + 1)
    loss, dparams = training.gradients(model, flat.params, (pieces[:, :-1],), pieces[:, 1:])
    if update % 20 == 0:
        print(f"update {update:2}  loss on these pieces {loss:.1f}")
    flat.step(dparams, learning_rate=8e-3 * min(1, (update + 1) / 40), max_norm=1.0)

# %% [markdown]
# The library's own forward and backward pass of the language model:

# %%
source(language_model.forward, language_model._backward)

# %% [markdown]
# ## A surprise
#
# A good text is likely, says the loss. So is the likeliest text a good one? Let the model write 64 pieces from
# beginnings of the validation text, with the likeliest character each time (*greedy*) and at several temperatures,
# and compare with what really stood there. Measured are the model's own surprise at the text, and how many groups of
# six characters have already come in the same piece.

# %%
BEGIN, GROUP = 12, 6


def measure(texts):
    """texts (B, T) -> the mean surprise after the beginning, nats, and the share of groups that come again."""
    logits, _ = model.forward(weights, texts[:, :-1])
    surprise = -np.take_along_axis(log_softmax(logits), texts[:, 1:, None], -1)[..., 0]  # (B, T - 1)
    again = total = 0
    for row in texts[:, BEGIN:]:
        groups = [tuple(row[i : i + GROUP]) for i in range(len(row) - GROUP + 1)]
        again, total = again + len(groups) - len(set(groups)), total + len(groups)
    return surprise[:, BEGIN - 1 :].mean(), again / total


begun = rows[:, :BEGIN]
ways = {"greedy": {}} | {
    f"temperature {temperature}": {"rng": np.random.default_rng(1), "temperature": temperature}
    for temperature in (0.3, 0.7, 1.0, 1.5)
}
written = {name: model.generate(weights, begun, steps=BLOCK - BEGIN, **options) for name, options in ways.items()}
for name, texts in (written | {"the manual": rows[:, :BLOCK]}).items():
    own, again = measure(texts)
    print(f"{name:16} surprise {own:4.1f} nats, {again:4.0%} of the groups have come before")

print()
for texts in written["greedy"][[3, 10, 20]]:
    print(manual.decode(texts).replace("\n", "¶"))

# %% [markdown]
# The greedy text surprises the model far less than real text does, and goes round in circles. Real text is not the
# likeliest text: it says something at nearly every word that could have been otherwise, and that shows as surprise.
# At a temperature of 1 the model's surprise at its own writing comes closest to its surprise at the manual. This is
# why text is drawn, and why the loss of a model cannot be 0.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** A model gives the right character a probability of 1/2, 1/4, 1/4 at three places. What is its loss
#    in nats, and how many equally likely characters does that correspond to?
# 2. **Predict.** In the very first update the loss is close to 4.56, whatever the text. Where does the number come
#    from? What would it mean if it were 20?
# 3. **Mend.** Somebody trains with `model.forward(params, pieces)` and targets `pieces`, both the whole piece. The
#    loss falls below 0.2 within forty updates. What has been forgotten?
# 4. **Predict.** Top_p 0.9 at a place where the model gives one character 0.95. How many characters can be drawn? And
#    where 25 characters share the probability evenly?
# 5. **Write.** The surprise at each place of a piece, mean over all pieces: `surprise.mean(axis=0)`. Why is it higher
#    at the first places? What would it be for the bigram?
#
# <details><summary>Answers</summary>
#
# 1. (0.693 + 1.386 + 1.386) / 3 = 1.155 nats. $e^{1.155} = 3.17$: as uncertain as among 3.17 equally likely
#    characters. That number is called the *perplexity*.
# 2. log 96: fresh weights give all of the 96 characters nearly the same probability. A loss of 20 at the start would
#    mean that the model is sure of itself and wrong, so that its output weights are too large.
# 3. The shift. Row t sees token t and is asked for token t. It should be asked for token t + 1: inputs `pieces[:,
#    :-1]`, targets `pieces[:, 1:]`.
# 4. One: it alone reaches 0.9. Of the 25, 23: 22 reach only 0.88. That is the point of top_p against a fixed number
#    of characters (top_k): it keeps few where the model is sure and many where it is not.
# 5. At the first places there is little to look back at. For a bigram, which never looks further back than one
#    character, all places are alike.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** the backward of the smallest model with a tied table: a row is read, goes through tanh, and is compared with
# every row of the same table. Tokens come more than once. `check.tied_backward.hint(1)` is there if you are stuck.


# %%
def tied_logits(table, ids):
    """table (V, M), ids (B, T) integers from 0 to V - 1 -> logits (B, T, V), cache."""
    hidden = np.tanh(table[ids])  # (B, T, M)
    logits = hidden @ table.T  # (B, T, V)
    return logits, (table, ids, hidden)


def tied_backward(dlogits, cache):
    """dlogits (B, T, V) -> dtable (V, M)."""
    table, ids, hidden = cache
    V, M = table.shape
    ### BEGIN SOLUTION dtable
    dtable = dlogits.reshape(-1, V).T @ hidden.reshape(-1, M)
    dhidden = dlogits @ table
    drows = dhidden * (1 - hidden**2)
    np.add.at(dtable, ids, drows)
    return dtable
    ### END SOLUTION


# %%
check.tied_backward(tied_backward)

# %% [markdown]
# ## Read
#
# - Bengio et al. 2003, *A neural probabilistic language model*, Journal of Machine Learning Research 3: embeddings
#   and a network in the place of counts.
# - Radford et al. 2019, *Language models are unsupervised multitask learners* (GPT-2), section 2: the model of this
#   lesson, much larger, with learned positions in the place of rotary ones, and tokens of several characters.
# - Press & Wolf 2017, *Using the output embedding to improve language models*, arXiv:1608.05859: the tied table.
# - Holtzman et al. 2020, *The curious case of neural text degeneration*, arXiv:1904.09751, section 3.1: top_p, there
#   called nucleus sampling, and why likely text is dull.
