# %% [markdown]
# # 12 · Encoder and decoder
#
# **You will be able to** name the three attentions of a Transformer and say who asks whom in each; train a decoder on
# all of its steps at once and then let it write one step after the other; and say why the gradient of the encoder's
# output is a sum over the layers of the decoder.
#
# *Needs lessons 06 (an alignment), 08 (masks), 10 (heads) and 11 (the block). Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt

from minattn import look, reader, tree
from minattn.attention import dot
from minattn.classroom import agree, check, data, keep, source
from minattn.data import phrases
from minattn.functions import embedding, layer_norm_backward, softmax
from minattn.gradcheck import gradcheck
from minattn.masks import causal, padding
from minattn.models import block, transformer
from minattn.op import bind
from minattn.plots import curves, heatmap
from minattn.plots.canvas import COLOURS
from minattn.positions import sinusoidal

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Lesson 06 had a reader that takes the letters of a phrase and writes its *phonemes*, the sounds of English in capital
# letters. It was made of LSTMs, and one attention let its writer look back at the letters. A **Transformer** does the
# same task with attention alone. Its **encoder** reads the letters and makes one row of numbers for each: together they
# are the **memory**. Its **decoder** writes the phonemes, and at every step it looks at the memory.
#
# A small one comes trained with this lesson: `lessons/data/make_12_transformer.py` made it, in a few minutes on one
# core, from the same phrases that the readers of lesson 06 learned from.

# %%
params, about = data("12_transformer.npz")
params = tree.astype(params, np.float32)
model = bind(transformer, norm_first=True, activation="gelu_tanh")  # as it was trained
readers, settings = look.readers()
ATTENTION = settings["attention"]

for name, each in {"fixed vector": readers[reader.FIXED], ATTENTION: readers[ATTENTION], "Transformer": params}.items():
    print(f"{name:13} {sum(leaf.size for _, leaf in tree.leaves(each)):,} parameters")
print(f"\nthe Transformer: {about['sizes']}, {about['updates']} updates of {about['batch']} phrases")

# %% [markdown]
# Both read one phrase of the test set, a phrase that neither of them has seen. For every phoneme that they wrote
# there is a row that says where they looked. The Transformer has several heads in each layer; shown is the mean over
# the heads of its last layer.


# %%
def read(params, texts):
    """Greedy reading by the Transformer of several texts -> a tuple of phonemes for each."""
    sources = [phrases.encode(text) for text in texts]
    lengths = np.array([len(ids) for ids in sources])
    padded = np.full((len(texts), lengths.max()), phrases.PAD)  # (B, S)
    for row, ids in zip(padded, sources, strict=True):
        row[: len(ids)] = ids
    marks = {"start": phrases.START, "end": phrases.END, "steps": 2 * padded.shape[1] + 8}
    return [phrases.spell(row) for row in model.greedy(params, padded, source_lengths=lengths, **marks)]


TEXT = "looking up the name"
words = read(params, [TEXT])[0]
by_reader = reader.read(ATTENTION, readers[ATTENTION], [TEXT])[0]
print("with LSTMs ", look.aloud(by_reader.phonemes))
print("Transformer", look.aloud(words))

letters, written = [*TEXT, "end"], [*words, "end"]
ids = np.array([[phrases.START, *(phrases.PHONEMES.index(word) for word in words)]])  # (1, T)
_, cache = model.forward(params, phrases.encode(TEXT)[None], ids)

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 5.2), layout="constrained")
options = {"vmin": 0, "vmax": 1, "xlabel": "letters that are looked at"}
heatmap(
    by_reader.weights,
    by_reader.written,
    letters,
    ax=left,
    title="the reader of lesson 06: additive attention",
    ylabel="",
    cbar=False,
    **options,
)
heatmap(cache.weights[0], written, letters, ax=right, title="the Transformer: cross-attention", ylabel="", **options)
left.set_ylabel("phonemes, in the order they were written")
figure.suptitle("One phrase, two ways to look back at its letters: both find the diagonal, one is broader")
keep(figure, "12_two_alignments")

# %% [markdown]
# Nobody told either of them where to look. Rows with the border between words ("␣") look at a space or at the letters
# around it; the last row, "end", is how a writer says that it has finished. The right map is broader. Is that because
# it is a mean over heads which look at different letters? Count the letters that a row looks at, by $e$ to its
# entropy: 1 where all the weight lies on one letter.


# %%
def letters_looked_at(weights):
    entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1)  # (..., T)
    return np.exp(entropy).mean(axis=-1)  # (...)


each_head = [letters_looked_at(layer.memory_weights[0]) for layer in cache.decoder.layers]  # (H,) for each layer
print("additive attention        ", letters_looked_at(by_reader.weights).round(1))
print("mean over the last layer  ", letters_looked_at(cache.weights[0]).round(1))
for layer, found in enumerate(each_head):
    print(f"the heads of layer {layer}      ", found.round(1))

# %% [markdown]
# In part: each head of the last layer looks at fewer letters than their mean does, so they look at different ones. But
# three of these four are broader than the additive attention even alone.
#
# How good are they? Here are the first 300 phrases of the test set: how many of the phonemes are wrong, counted as the
# fewest insertions, deletions and substitutions that mend what was written. Some test phrases hold a word that is in no
# training phrase; they are counted apart.

# %%
test = phrases.load().test[:300]
texts = [phrase.text for phrase in test]
wrote = {
    name: [each.phonemes for each in reader.read(name, readers[name], texts)] for name in (reader.FIXED, ATTENTION)
}
wrote = {
    "LSTM, fixed vector": wrote[reader.FIXED],
    "LSTM, attention": wrote[ATTENTION],
    "Transformer": read(params, texts),
}
sizes = np.array([len(phrase.phonemes) for phrase in test])
unseen = np.array([phrase.unseen for phrase in test])

print(f"wrong phonemes in        {(~unseen).sum()} phrases of known words   {unseen.sum()} with a new word")
for name, readings in wrote.items():
    wrong = np.array([phrases.distance(mine, phrase.phonemes) for mine, phrase in zip(readings, test, strict=True)])
    known, new = (wrong[some].sum() / sizes[some].sum() for some in (~unseen, unseen))
    print(f"{name:18} {known:24.1%} {new:24.1%}")
print(f"\nthe Transformer's loss at the end of its training: {about['losses'][-1]:.3f} nats a phoneme")

# %% [markdown]
# Far better than the fixed vector, and clearly behind the LSTM with attention. Attention alone is not the better
# reader here. The task runs from left to right, which an LSTM is built for and a Transformer has to learn; the data
# is small, and the loss at the end says that the Transformer knows its training phrases nearly by heart. (One small
# model, trained once, with no dropout; a larger and more careful training would do better, how much better is not
# shown here.) One of its mistakes is typical:

# %%
hard = ["try to get source code of expression and"]
print(hard[0])
print("with LSTMs  ", look.aloud(reader.read(ATTENTION, readers[ATTENTION], hard)[0].phonemes))
print("Transformer ", look.aloud(read(params, hard)[0]))

# %% [markdown]
# It loses its place. Part of "source" is left out, and "code" is said twice. Nothing in a Transformer moves forward by
# itself: at each step it must find out anew, from what it has written, how far it has come.

# %% [markdown]
# ## Compute
#
# **Three attentions.** One step of a decoder, with numbers for paper: no weight matrices, no division by $\sqrt D$.
# The encoder has read three letters, and left the memory m₁ = (1, 0), m₂ = (0, 1), m₃ = (1, 1). The decoder has
# written one phoneme and is at its second step; its two rows are x₁ = (1, 0) and x₂ = (0, 1).
#
# *First* x₂ looks back at what was written, itself included:
#
# | decoder looks at itself | score, x₂ · key | e to that | weight |
# |---|---|---|---|
# | x₁ = (1, 0) | 0 | 1 | 0.269 |
# | x₂ = (0, 1) | 1 | 2.718 | 0.731 |
#
# The context is (0.269, 0.731), and it is added to x₂: (0.269, 1.731). *Then* this row asks the memory:
#
# | decoder looks at the memory | score | e to that | weight |
# |---|---|---|---|
# | m₁ = (1, 0) | 0.269 | 1.309 | 0.091 |
# | m₂ = (0, 1) | 1.731 | 5.646 | 0.394 |
# | m₃ = (1, 1) | 2.000 | 7.389 | 0.515 |
# | sum | | 14.344 | 1 |
#
# The context is 0.091 m₁ + 0.394 m₂ + 0.515 m₃ = (0.606, 0.909). The same in NumPy; `dot` divides by $\sqrt D$, so the
# query is multiplied by it first.

# %%
memory = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (S, M)
x = np.array([[1.0, 0.0], [0.0, 1.0]])  # (T, M)

context, back = dot.forward({}, np.sqrt(2) * x, x, x, mask=causal())  # (T, M)
asking = x + context  # (T, M)
context, across = dot.forward({}, np.sqrt(2) * asking, memory, memory)  # (T, M)
print("looks back at what was written\n", back.weights)
print("looks at the memory\n", across.weights)
print("context of the second step", context[1])

# %% [markdown]
# The memory itself came from the third attention: in the encoder every letter looks at every letter. Of a whole model:
#
# | attention | query from | key and value from | may look | library |
# |---|---|---|---|---|
# | encoder **self-attention** | letters | letters | everywhere but at padding | `look` of an encoder block |
# | decoder **causal self-attention** | phonemes | phonemes | at itself and back | `look` of a decoder block |
# | **cross-attention** | phonemes | memory | everywhere but at padding | `recall` of a decoder block |

# %%
length, room, steps = 5, 7, 6  # a phrase of 5 letters in a batch where the longest has 7; 6 phonemes
pad = padding(np.array([length]))
pictures = {
    "Encoder self-attention": (pad, room, room),
    "Decoder causal self-attention": (causal(), steps, steps),
    "Cross-attention": (pad, steps, room),
}
letter_names = [f"letter {s}" if s < length else "padding" for s in range(room)]
phoneme_names = [f"step {t}" for t in range(steps)]

figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.9), layout="constrained")
for ax, (title, (mask, T, S)) in zip(axes, pictures.items(), strict=True):
    _, cells = dot.forward({}, np.zeros((1, T, 1)), np.zeros((1, S, 1)), np.zeros((1, S, 1)), mask=mask)
    rows, columns = (letter_names if T == room else phoneme_names), (letter_names if S == room else phoneme_names)
    heatmap(
        cells.weights[0],
        rows,
        columns,
        ax=ax,
        mask=cells.weights[0] > 0,
        vmax=1,
        cbar=False,
        annot=True,
        fmt=".2f",
        title=title,
    )
figure.suptitle("Who may look at whom, with equal scores (hatched: may not look)")
keep(figure, "12_three_masks")

# %% [markdown]
# **Teacher forcing.** While it is trained, the decoder is given the right phonemes, shifted by one place. The word
# *cat*, K AE T:
#
# | step | it is given | it should say |
# |---|---|---|
# | 0 | start | K |
# | 1 | K | AE |
# | 2 | AE | T |
# | 3 | T | end |
#
# Since no step can see a later one, all four are computed in one go, and each is judged as if it stood alone. When the
# decoder writes by itself there are no right phonemes: what it said at step 0 is what it is given at step 1. Taking the
# likeliest each time is called **greedy** decoding.

# %%
batch = phrases.batch(test[:2])
for given, wanted in zip(batch.target_in[0], batch.target_out[0], strict=True):
    given, wanted = (phrases.PHONEMES[token].replace(" ", "␣") for token in (given, wanted))
    print(f"given {given:8} should say {wanted}")
    if wanted == phrases.END:
        break

# %% [markdown]
# *You can go on to lesson 13 from here. What follows takes the model apart, and goes back through it.*

# %% [markdown]
# ## Derive
#
# A letter's row is its embedding, made larger, plus the waves of lesson 09 which say where it stands. Write
# $\text{attn}(q, m)$ for multi-head attention with queries from $q$ and keys and values from $m$, and leave out the
# norms and residuals of lesson 11, which stand around every part. An encoder block and a decoder block are
#
# $$\begin{aligned}
# &\text{encoder:} && x \leftarrow \text{attn}(x, x) && x \leftarrow \text{feed}(x) \\
# &\text{decoder:} && y \leftarrow \text{attn}(y, y)\ \text{causal} && y \leftarrow \text{attn}(y, \text{memory})
#   && y \leftarrow \text{feed}(y)
# \end{aligned}$$
#
# with $\text{memory}$ the last $x$ of the encoder, normed. At the end every row of the decoder is compared with the
# embedding of every phoneme, which gives the logits: $\text{logits} = y\, E_{target}^\top$.
#
# **Backward.** The decoder's rows go back as in lesson 11. What is new is the memory. It is one array, and it was used
# $2L$ times: each of the $L$ decoder blocks made keys of it and values of it. An array that was used in several places
# gets the sum of what comes back from each of them:
#
# $$d\text{memory} = \sum_{l=1}^{L} \left( d\text{key-input}_l + d\text{value-input}_l \right)$$
#
# Only then does the gradient enter the encoder, once. The encoder has no loss of its own: all that it learns, it learns
# through this sum.

# %% [markdown]
# ## Equal to the library
#
# First the whole forward pass from its parts, in float64.

# %%
exact = tree.astype(params, np.float64)
M = exact["embed_source"].shape[1]
seen = padding(batch.source_lengths)
options = {"norm_first": True, "activation": "gelu_tanh"}


def rows(table, ids):
    return embedding(table, ids) * np.sqrt(M) + sinusoidal(ids.shape[1], M)  # (B, T, M)


x = rows(exact["embed_source"], batch.source)  # (B, S, M)
memory, _ = block.stack(exact["encoder"], exact["norm_encoder"], x, mask=seen, **options)  # (B, S, M)
y = rows(exact["embed_target"], batch.target_in)  # (B, T, M)
y, decoder = block.stack(
    exact["decoder"], exact["norm_decoder"], y, memory, mask=causal(), memory_mask=seen, **options
)  # (B, T, M)
logits = y @ exact["embed_target"].T  # (B, T, V)

theirs, cache = model.forward(exact, batch.source, batch.target_in, source_lengths=batch.source_lengths)
agree(logits, theirs)

# %% [markdown]
# Second, teacher forcing: all steps at once are the same as one step after the other, each with only what came before.

# %%
T = batch.target_in.shape[1]
one_by_one = [
    model.forward(exact, batch.source, batch.target_in[:, : t + 1], source_lengths=batch.source_lengths)[0][:, -1]
    for t in range(T)
]
agree(np.stack(one_by_one, axis=1), theirs)

# %% [markdown]
# Third, greedy decoding. Written down plainly it calls the whole model at every step. The library's own form keeps what
# earlier steps have computed, which is the subject of lesson 14; the phonemes are the same.

# %%
written = np.full((1, 1), phrases.START)
letters_of_text = phrases.encode(TEXT)[None]  # (1, S)
while written[0, -1] != phrases.END and written.shape[1] < 60:
    logits, _ = model.forward(exact, letters_of_text, written)  # (1, T, V)
    written = np.concatenate([written, logits[:, -1:].argmax(axis=-1)], axis=1)  # (1, T + 1)
kept = model.greedy(exact, letters_of_text, start=phrases.START, end=phrases.END, steps=60)
agree(written[:, 1:], kept)
print(look.aloud(phrases.spell(written[0])))

# %% [markdown]
# Fourth, the sum. Take the gradient of the loss at the logits, which is (predicted - desired) at every real step, and
# go back through the decoder block by block, keeping what each block sends to the memory.

# %%
desired = np.eye(len(phrases.PHONEMES))[batch.target_out]  # (B, T, V)
real = (batch.target_out != phrases.PAD)[..., None]  # (B, T, 1)
dlogits = (softmax(theirs) - desired) * real / real.sum()  # (B, T, V)

dwritten = dlogits @ exact["embed_target"]  # (B, T, M)
(_, dmemory), _, _ = block.stack_backward(dwritten, decoder)  # (B, S, M)


def sent_to_memory(dwritten, stack):
    """What each decoder block sends to the memory, the first block first: a list of (B, S, M)."""
    norm = stack.norm
    dy, _, _ = layer_norm_backward(dwritten, *stack.kept, norm["gain"], norm["bias"])
    sent = []
    for each in reversed(stack.layers):
        (dy, dasked, _), _ = block.backward(dy, each)
        sent.insert(0, dasked)
    return sent


agree(sum(sent_to_memory(dwritten, decoder)), dmemory)

# %% [markdown]
# How much does each block ask for? Take one phoneme of the phrase above, and the gradient of its logit at every row
# of the memory.

# %%
ids = np.array([[phrases.START, *(phrases.PHONEMES.index(word) for word in words)]])  # (1, T)
_, cache = model.forward(exact, letters_of_text, ids)
place = words.index("N")
dlogits = np.zeros((1, ids.shape[1], len(phrases.PHONEMES)))
dlogits[0, place, phrases.PHONEMES.index("N")] = 1
sent = sent_to_memory(dlogits @ exact["embed_target"], cache.decoder)


def norms(drows):
    return np.sqrt((drows[0] ** 2).sum(axis=-1))  # (S,)


figure, ax = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
curves(
    {"from block 0": norms(sent[0]), "from block 1": norms(sent[1]), "their sum": norms(sum(sent))},
    ax=ax,
    title='What the N of "name" sends back to the memory: two gradients, added',
    xlabel="row of the memory, by its letter",
    ylabel="norm of the gradient of one logit",
    ylim=(0, None),
)
ax.set_xticks(range(len(letters)), [letter.replace(" ", "␣") for letter in letters])
keep(figure, "12_memory_gradient")

# %% [markdown]
# Most goes to the letters of "name", and some to the word before it: to say N the decoder also has to know that it is
# done with "the". The first word gets next to nothing. (Norms do not add up: two arrows may point different ways.)

# %% [markdown]
# Last, the whole model under the gradient check of lesson 02: every parameter of a small Transformer, by complex
# step, with padding. Token ids have no gradient, so only parameters are listed.

# %%
rng = np.random.default_rng(0)
sizes = {"source_vocabulary": 6, "target_vocabulary": 5, "M": 4, "H": 2, "L": 2, "F": 3}
small = transformer.init(rng, **sizes)
inputs = rng.integers(6, size=(2, 4)), rng.integers(5, size=(2, 3))
report = gradcheck(transformer, inputs=inputs, params=small, options={"source_lengths": np.array([4, 2])})
print(f"{len(report.rows)} arrays, all right: {all(row.error <= 1e-12 for row in report.rows)} (error <= 1e-12)")

# %% [markdown]
# The library's forward and backward pass of the whole model, and the two of a stack of blocks that carry the sum:

# %%
source(transformer.forward, transformer.flow, block.stack_backward)

# %% [markdown]
# ## A surprise
#
# A Transformer of two layers has six places of attention. Switch them off one after the other, by setting their output
# weights to zero, and count how many phonemes are still right when the decoder is given the right ones so far (teacher
# forcing). Which would you miss most, and which least?

# %%
batch = phrases.batch(test)
real = batch.target_out != phrases.PAD  # (B, T)


def right_phonemes(params, source, lengths):
    """The share of steps at which the likeliest phoneme is the right one."""
    logits, _ = model.forward(params, source, batch.target_in, source_lengths=lengths)  # (B, T, V)
    return (logits.argmax(axis=-1) == batch.target_out)[real].mean()


def without(side, part, layers):
    """The model with one attention of some layers switched off."""
    changed = tree.map(np.copy, params)
    for layer in layers:
        changed[side][layer][part]["W_out"][:] = 0
    return changed


whole = right_phonemes(params, batch.source, batch.source_lengths)
bars = {"nothing": whole}
for label, side, part in (
    ("encoder self-attention", "encoder", "look"),
    ("decoder self-attention", "decoder", "look"),
    ("cross-attention", "decoder", "recall"),
):
    for layers in ("0", "1", "01"):
        where = "both" if layers == "01" else f"layer {layers}"
        bars[f"{label}, {where}"] = right_phonemes(without(side, part, layers), batch.source, batch.source_lengths)

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
colours = [COLOURS[6], *np.repeat([COLOURS[2], COLOURS[0], COLOURS[1]], 3)]
ax.barh(list(bars), list(bars.values()), color=colours)
for place, share in enumerate(bars.values()):
    ax.text(share + 0.01, place, f"{share:.0%}", va="center")
ax.invert_yaxis()
ax.set(
    xlim=(0, 1.1),
    xlabel="share of phonemes right, given the right ones so far",
    title="Switched off: the encoder's own attention is missed least",
)
keep(figure, "12_switched_off")

others = np.roll(np.arange(len(test)), 1)
wrong_phrase = right_phonemes(params, batch.source[others], batch.source_lengths[others])
print(f"nothing off, but the letters of another phrase: {wrong_phrase:.0%} right")

# %% [markdown]
# The model was never trained with a part missing, so this says what *this* model leans on, not what a Transformer
# needs. Still: with no attention among the letters at all, most phonemes are right. The memory then holds each letter
# alone, and cross-attention can fetch several of them. Without the decoder's view of what it has written it does not
# know where it is. And with the letters of another phrase the right phonemes so far hardly help: the decoder has
# learned to believe the memory.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** In cross-attention, who has T rows and who has S: the query, the key, the value, the context? Which
#    of them change from one step of decoding to the next?
# 2. **By hand.** With the numbers of *Compute*, and a memory of m₁ and m₂ alone, what are the weights of the second
#    step?
# 3. **Predict.** The decoder's causal mask is left out, in training and in testing. Is the loss higher or lower? And
#    what it writes?
# 4. **Write.** `without("encoder", "look", "01")` reads with no attention among the letters. Feed it to `read` with
#    five phrases, and compare what it writes with what the whole model does.
# 5. **Change.** In the backward pass, keep only the memory's gradient from the last block. Which parameters get a wrong
#    gradient, and which still a right one?
#
# <details><summary>Answers</summary>
#
# 1. Query and context have T rows, key and value have S. At each step there is a new query and a new context; keys
#    and values are the memory's and stay, which is why `greedy` prepares them once.
# 2. The scores are 0.269 and 1.731, e to them 1.309 and 5.646, the sum 6.955: weights 0.188 and 0.812.
# 3. Lower, close to 0: row t looks at row t + 1, which holds the answer. What it writes is bad, since then there is
#    no later row to look at.
# 4. Some words survive and some fall apart, those first whose letters must be read together.
# 5. The encoder's parameters and the source embeddings get a wrong one, since all they get comes through the sum. The
#    decoder's are right, the target embeddings too. A loss would still fall, more slowly: only a gradient check tells.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Predict.** Somebody trains a Transformer with `target_in` equal to `target_out`, without the shift. The decoder's
# self-attention is causal, as it should be. What comes of it?
#
# - a: it learns as ever, since the mask keeps every step from looking ahead
# - b: the loss falls to nearly 0, and it reads the better for it
# - c: the loss falls to nearly 0, and what it writes by itself is useless

# %%
### BEGIN SOLUTION
unshifted = "c"
### END SOLUTION
check.unshifted(unshifted)

# %% [markdown]
# **Mend** a backward pass. Here is a small decoder: each of its L layers makes keys of the memory by a matrix of its
# own, takes the memory itself for its values, and adds what it finds to its rows. Forward is right. Backward runs, all
# shapes fit, and one gradient is wrong.


# %%
def ask_the_memory(written, memory, W_key):
    """written (B, T, M), memory (B, S, M), W_key (L, M, M), a matrix for each layer -> written (B, T, M), cache."""
    layers = []
    for W in W_key:
        key = memory @ W  # (B, S, M)
        scores = written @ key.mT / np.sqrt(key.shape[-1])  # (B, T, S)
        shares = np.exp(scores - scores.real.max(axis=-1, keepdims=True))  # (B, T, S)
        weights = shares / shares.sum(axis=-1, keepdims=True)  # (B, T, S)
        layers.append((written, key, weights))
        written = written + weights @ memory  # (B, T, M)
    return written, (memory, W_key, layers)


def memory_backward(dwritten, cache):
    """dwritten (B, T, M), behind the last layer -> dwritten (B, T, M), before the first, dmemory, dW_key."""
    memory, W_key, layers = cache
    dmemory, dW_key = np.zeros_like(memory), np.zeros_like(W_key)
    for layer in reversed(range(len(W_key))):
        written, key, weights = layers[layer]
        # written = written + weights @ memory
        dweights = dwritten @ memory.mT
        dvalue = weights.mT @ dwritten
        # weights = softmax(scores)
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
        # scores = written @ key.mT / sqrt(M)
        dscores = dscores / np.sqrt(key.shape[-1])
        dkey = dscores.mT @ written
        dwritten = dwritten + dscores @ key
        # key = memory @ W_key[layer]
        dW_key[layer] = (memory.mT @ dkey).sum(axis=0)
        ### BEGIN SOLUTION
        dmemory += dvalue + dkey @ W_key[layer].T
        ### END SOLUTION
    return dwritten, dmemory, dW_key


# %%
check.memory_backward(memory_backward)

# %% [markdown]
# ## Read
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv:1706.03762, figure 1 (the whole), 3.2.3 (the three uses of
#   attention), 3.4 (the tied embeddings).
# - Sutskever, Vinyals & Le 2014, *Sequence to sequence learning with neural networks*, arXiv:1409.3215: encoder and
#   decoder before attention.
# - Bengio, Vinyals, Jaitly & Shazeer 2015, *Scheduled sampling*, arXiv:1506.03099: what teacher forcing does not teach.
