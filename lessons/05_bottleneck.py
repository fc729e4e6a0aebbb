# %% [markdown]
# # 05 · The bottleneck
#
# **You will be able to** build a reader that squeezes a whole phrase into one vector and writes from it; give it its
# targets one step late and keep padding out of its loss; and say why it breaks down on long phrases, and why a low loss
# in training does not mean that it reads well.
#
# *Needs lessons 02 and 04. Thirty-five minutes.*

# %%
import numpy as np

from minattn import demo, look, optim, reader, training, tree
from minattn.classroom import agree, check, keep, source
from minattn.data import phrases
from minattn.functions import Loss, cross_entropy, cross_entropy_backward
from minattn.models import seq2seq
from minattn.plots import curves, gradient_flow
from minattn.recurrent import bidirectional, lstm, rnn

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# The task is to read aloud: letters in, phonemes (the sounds of speech) out. The two sequences differ in length, and
# no letter says which phoneme is its own. The networks that first did such things well had two halves. An **encoder**
# reads the letters, one at a time, and what it remembers at the end is one vector. A **decoder** starts from that
# vector and writes phonemes until it writes END. Together they are called sequence to sequence, seq2seq.
#
# Two readers come with this package, trained alike on 12,000 phrases of the Python manual (3,000 updates each, made by
# `minattn.data.make_readers`). One has the single vector, of 64 numbers. The other may also look back at all letters
# while it writes; how it does that is the subject of lesson 06. Let both read phrases that they were not trained on:

# %%
params, _ = look.readers()
fixed, attending = list(params)
for name in params:
    print(f"{demo.label(name):20} {sum(leaf.size for _, leaf in tree.leaves(params[name])):,} parameters")

for text in ("the source", "return a copy", "return a copy of the string in which each"):
    print(f"\n{text}")
    for name in params:
        (reading,) = reader.read(name, params[name], [text])
        print(f" {demo.label(name):18} {look.aloud(reading.phonemes)}")

# %% [markdown]
# Read the last line of the fixed vector aloud. It begins well, and then it *makes up* something that would not be out
# of place in the manual. What it has learned about the language is intact; what it lost is this phrase. Count wrong
# phonemes (the fewest insertions, deletions and substitutions that lead to the right answer, over the number of right
# phonemes) by the length of the phrase:

# %%
test = phrases.load().test[::2]  # every second one, to save time
readings = {name: reader.read(name, params[name], [phrase.text for phrase in test]) for name in params}
errors = demo.count_errors(readings, test)
wrong = {name: [demo.share(errors, bucket, name) for bucket in reader.BUCKETS] for name in params}
buckets = [f"{low}-{high}" for low, high in reader.BUCKETS]

ax = curves(
    {demo.label(name): shares for name, shares in wrong.items()},
    buckets,
    title="Scissors: the longer the phrase, the more the one vector loses",
    xlabel="length of the phrase (letters)",
    ylabel="wrong phonemes",
    percent=True,
    ylim=(0, None),
)
ax.fill_between(range(len(buckets)), wrong[attending], wrong[fixed], color="#888888", alpha=0.15, linewidth=0)
keep(ax, "05_scissors")

print(f"{len(test)} phrases that were not trained on")
for i, bucket in enumerate(buckets):
    print(f"{bucket:>6} letters: " + ", ".join(f"{demo.label(name)} {wrong[name][i]:.0%} wrong" for name in params))

# %% [markdown]
# The vector has the same 64 numbers whether it stands for four letters or for forty-eight. That is the **bottleneck**.
# The reader that may look back needs no vector for everything, and its error hardly depends on length.

# %% [markdown]
# ## Compute
#
# How is such a pair trained? The decoder writes one token at a time, and each depends on those before it. In training
# the right answer is known, so the decoder is *given* the right tokens before, whatever it would have written itself.
# That is called **teacher forcing**. The targets therefore come twice, one step apart. For "the", which is DH AH:
#
# | step | it is given (`target_in`) | it should write (`target_out`) |
# |---|---|---|
# | 0 | START | DH |
# | 1 | DH | AH |
# | 2 | AH | END |
#
# START, since there is nothing before the first; END, since it has to learn to stop. All steps can then be computed
# in one go, and each has a target of its own. "a" is shorter, and a batch is a rectangle, so its row is filled up
# with PAD:

# %%
the, a = phrases.Phrase("the", ("DH", "AH"), False), phrases.Phrase("a", ("AH",), False)
batch = phrases.batch([the, a])
symbols = np.array(["PAD", "START", "END", *phrases.PHONEMES[3:]])
print("target_in\n", symbols[batch.target_in])
print("target_out\n", symbols[batch.target_out])

# %% [markdown]
# Suppose that the decoder gives these probabilities to the right tokens. The loss of a token is its surprise, -ln of
# the probability (lesson 02):
#
# | | DH | AH | END | | | AH | END | PAD |
# |---|---|---|---|---|---|---|---|---|
# | probability | 0.9 | 0.5 | 0.8 | | | 0.6 | 0.7 | 0.01 |
# | surprise | 0.105 | 0.693 | 0.223 | | | 0.511 | 0.357 | (4.605) |
#
# The five real tokens have a mean of 1.889 / 5 = 0.378. What comes after END is nobody's business. Counted in, the
# mean would be 6.494 / 6 = 1.082, and the decoder would be made to practise writing PAD, the more the longer its
# neighbour in the batch. So `cross_entropy` is told which targets to ignore:

# %%
right = np.array([[0.9, 0.5, 0.8], [0.6, 0.7, 0.01]])  # (B, T)
V = len(phrases.PHONEMES)
probabilities = np.repeat((1 - right[..., None]) / (V - 1), V, axis=-1)  # (B, T, V)  the rest, evenly
np.put_along_axis(probabilities, batch.target_out[..., None], right[..., None], axis=-1)

surprise, real = -np.log(right), batch.target_out != phrases.PAD  # (B, T) each
print("real tokens alone", (surprise[real].sum() / real.sum()).round(3), "   padding counted", surprise.mean().round(3))

loss, *needed = cross_entropy(np.log(probabilities), batch.target_out, ignore_index=phrases.PAD)
agree(loss.mean, surprise[real].mean())
dlogits = cross_entropy_backward(Loss(1.0), *needed)  # (B, T, V)
print("gradient at the padded step: all zero?", not dlogits[1, 2].any())

# %% [markdown]
# *You can go on to lesson 06 from here. What follows writes the pair down, sends a gradient back through the
# bottleneck, and shows what teacher forcing hides.*

# %% [markdown]
# ## Derive
#
# With $[\;,\;]$ for vectors laid end to end, $x_s$ the embedded letters and $y_t$ the embedded tokens of `target_in`:
#
# $$\begin{aligned}
#   \overrightarrow{h}_s &= \text{LSTM}(x_s, \overrightarrow{h}_{s-1}), \quad
#   \overleftarrow{h}_s = \text{LSTM}(x_s, \overleftarrow{h}_{s+1}) && \text{reads from both sides} \\
#   m &= \tanh([\overrightarrow{h}_S, \overleftarrow{h}_1]\, W_{summary} + b_{summary}) && \text{the bottleneck, (N,)} \\
#   h_t &= \text{LSTM}([y_t, m], h_{t-1}), \quad h_{-1} = m && \text{writes} \\
#   \text{logits}_t &= [h_t, m]\, W_{out} + b_{out}
# \end{aligned}$$
#
# The decoder is shown $m$ at every step, so it need not carry all of it along. Yet letters reach it through $m$ alone:
# given $m$, the phrase might as well be thrown away.

# %%


def read_and_write(params, source, target):
    """source (B, S) and target (B, T), ids of letters and of phonemes -> logits (B, T, V); no padding."""
    letters = params["embed_source"][source]  # (B, S, I)
    (_, last), _ = bidirectional.forward(params["encoder"], letters)
    ends = np.concatenate([last.forward.hidden, last.backward.hidden], axis=-1)  # (B, 2N)
    m = np.tanh(ends @ params["W_summary"] + params["b_summary"])  # (B, N)
    state, logits = lstm.State(m, np.zeros_like(m)), []
    for token in target.T:
        given = np.concatenate([params["embed_target"][token], m], axis=-1)  # (B, I + N)
        projected = given @ params["decoder"]["W_input"] + params["decoder"]["b"]  # (B, 4N)
        state, _ = lstm.step(params["decoder"], projected, state)
        logits.append(np.concatenate([state.hidden, m], axis=-1) @ params["W_out"] + params["b_out"])  # (B, V)
    return np.stack(logits, axis=1)


# %% [markdown]
# **Backward.** Whatever the loss is, the chain rule leads from it to a letter through $m$:
#
# $$dx_s = \left(\frac{\partial m}{\partial x_s}\right)^{\!\top} dm, \qquad
#   dm = \sum_t \left(\frac{\partial\, \text{logits}_t}{\partial m}\right)^{\!\top} d\,\text{logits}_t$$
#
# The sum over $t$ comes first. All that all phonemes have to say ("I needed a k there", "and I a t") is added up into
# the single vector $dm$, of N numbers, before any letter hears of it. And then that vector has to travel: in one LSTM
# from the last letter back to the first, in the other from the first on to the last, step by step, with everything
# that lesson 03 says about long ways.

# %% [markdown]
# ## Equal to the library
#
# `seq2seq` with `attention=None` is this model. One long phrase, in float64:

# %%
double = tree.astype(params[fixed], np.float64)
long = phrases.batch([next(phrase for phrase in test if len(phrase.text) == 44)])
logits, cache = seq2seq.forward(double, long.source, long.target_in)
agree(read_and_write(double, long.source, long.target_in), logits)

# %% [markdown]
# For a single phrase the gradient of $b_{summary}$ *is* the gradient inside the tanh of $m$: it was added there,
# once. Take those N numbers, forget everything else that happened in the decoder, and send them back through the
# encoder. They give the gradient of every letter, exactly:

# %%
loss, *needed = cross_entropy(logits, long.target_out)
dsource, _, dparams = seq2seq.flow(cross_entropy_backward(Loss(1.0), *needed), cache)

dinside = dparams["b_summary"][None]  # (1, N)  all that comes back
dends = np.split(dinside @ double["W_summary"].T, 2, axis=-1)  # (1, N) twice
dlast = bidirectional.Directions(*(lstm.State(dend, np.zeros_like(dend)) for dend in dends))
(dletters, _), _ = bidirectional.backward((None, dlast), cache.encoder.encoder)
agree(dletters, dsource)
print(f"{dsource.size:,} numbers of gradient at the letters, all made of {dinside.size}")

# %% [markdown]
# How much of it arrives where? Here is the length of the gradient that the logit of the *last* phoneme sends to each
# letter, before anything is trained. With attention there is a second way, past the bottleneck.

# %%
alike, length = demo.most_common_length(test)
settings = reader.Settings()
flows = {f"LSTM, {demo.label(n)}": reader.gradient_at_source(n, reader.initial(settings, n), alike) for n in params}
plain = reader.initial(settings, fixed, cell=rnn)
flows["RNN, fixed vector"] = reader.gradient_at_source(fixed, plain, alike, cell=rnn)
ax = gradient_flow(
    flows,
    title="Before training: what the last phoneme sends back to each letter",
    xlabel=f"position of the letter ({len(alike)} phrases of {length} letters, and their end)",
    ylabel="norm of d logit / d letter",
)
keep(ax, "05_gradient_flow")

middle = length // 2
for name, norms in flows.items():
    ratio = float(f"{np.median(norms[:, 0] / norms[:, middle]):.1g}")  # one digit
    print(f"{name:26} the first letter gets about {f'{ratio:,.1f}'.removesuffix('.0')} times what the middle gets")

# %% [markdown]
# The middle of the phrase is farthest from both ends. (The line for attention looks flat, since an untrained reader
# looks everywhere alike; the gradient still has to find out where to go.)
#
# Below is how a batch is learned: shifted targets, padding ignored, long gradients shortened.

# %%
source(reader.update)

# %% [markdown]
# ## A surprise
#
# Train two small readers, here and now, for 300 updates on phrases of up to 16 letters. One is given `target_in`. For
# the other somebody forgot the shift, and gave it `target_out`. Which will have the lower loss?

# %%
short = [phrase for phrase in phrases.load().train if len(phrase.text) <= 16]
small = reader.Settings(N=24, I=16, batch=32, learning_rate=1e-2, updates=300)


def learn(shifted):
    flat, losses = optim.Flat(reader.initial(small, fixed)), []
    for done, batch in zip(range(small.updates), reader.batches(small, short), strict=False):
        given = batch.target_in if shifted else batch.target_out
        inputs, lengths = (batch.source, given), {"source_lengths": batch.source_lengths}
        loss, grads = training.gradients(
            reader.op(fixed), flat.params, inputs, batch.target_out, ignore_index=phrases.PAD, lengths=lengths
        )
        pace = optim.schedule(done, small.updates, peak=small.learning_rate, warm_up=30)
        flat.step(grads, learning_rate=pace, max_norm=1.0)
        losses.append(float(loss))
    return flat.params, np.mean(losses[-20:])


for title, shifted in (("one step late", True), ("not shifted", False)):
    learned, final = learn(shifted)
    (reading,) = reader.read(fixed, learned, ["return a copy"])
    print(f"{title:14} loss {final:4.2f} nats,  return a copy -> {look.aloud(reading.phonemes[:12])}")

# %% [markdown]
# The second has all but solved the task, says the loss. It has learned to copy: each answer stood in its input. When
# it reads by itself, its input is what it has just written, and it copies that for ever. (The first is a beginner.
# Its sounds are wrong, but it is reading.)
#
# That was a mistake. What does the loss say where the shift is right? The decoder is given the right phonemes before
# each step, and when it reads by itself it has only its own. Measure the *same* trained fixed-vector reader on the
# *same* long phrases both ways, phoneme by phoneme: **forced**, with the right answer up to there, and **free**, with
# its own.
#
# **Predict.** Forced, it is right at 70% of the positions, and from the tenth phoneme on not much less often. How
# often is it right there when it is free?
#
# - a: at one position in ten or so
# - b: about half as often, since a mistake spoils the next phoneme or two, and then it finds its way back
# - c: about as often, since its letters and its weights are the same

# %%
### BEGIN SOLUTION
forced_and_free = "a"
### END SOLUTION
check.forced_and_free(forced_and_free)

# %%
tall = [phrase for phrase in test if len(phrase.text) > 40]
batch = phrases.batch(tall)
real = batch.target_out != phrases.PAD  # (B, T)
places = 36  # positions at which every phrase, or nearly every, has a phoneme


def forced_errors(name, source, lengths):
    logits, _ = reader.op(name).forward(params[name], source, batch.target_in, source_lengths=lengths)
    loss = cross_entropy(logits, batch.target_out, ignore_index=phrases.PAD)[0]
    return logits.argmax(axis=-1) != batch.target_out, float(loss.mean)  # (B, T), nats


def free_errors(name):
    """(B, T): is what stands at this place not what should stand there?"""
    wrong = np.ones_like(real)
    for row, phrase in zip(wrong, tall, strict=True):
        written = readings[name][test.index(phrase)].written
        expected = (*phrase.phonemes, "end")
        row[: len(expected)] = [written[t : t + 1] != expected[t : t + 1] for t in range(len(expected))]
    return wrong


def by_place(wrong):
    return [wrong[real[:, t], t].mean() for t in range(places)]


forced, nats = forced_errors(fixed, batch.source, batch.source_lengths)
free = {name: free_errors(name) for name in params}
ax = curves(
    {
        "fixed vector, free": by_place(free[fixed]),
        "fixed vector, forced": by_place(forced),
        f"{demo.label(attending)}, free": by_place(free[attending]),
    },
    title="Teacher forcing hides the breakdown: one reader, forced and free",
    xlabel=f"position in the answer (phonemes; {len(tall)} phrases of 41 to 48 letters)",
    ylabel="wrong at this position",
    percent=True,
    ylim=(0, 1),
)
keep(ax, "05_forced_and_free")
print(f"forced: {forced[real].mean():.0%} wrong, loss {nats:.2f} nats a phoneme")
print(f"free:   {free[fixed][real].mean():.0%} wrong, position by position; {wrong[fixed][-1]:.0%} by edit distance")

# %% [markdown]
# Forced, it gets about two phonemes in three right, and after the first few the rest is no harder, as far as the plot
# goes. Free, the first mistakes pull the next ones after them, and after ten phonemes hardly anything is right. (A
# single phoneme too many shifts all that follow, so the comparison by position is harsh; the edit distance forgives
# that, and is bad enough.)
#
# **The loss under teacher forcing answers another question than the one you have.** Decode, and count.
#
# How can it be two thirds right in the middle of a phrase that it has forgotten? Give it the letters of *another*
# phrase, with the right phonemes before each step as ever:

# %%
swapped, nats = forced_errors(fixed, np.roll(batch.source, 1, axis=0), np.roll(batch.source_lengths, 1))
print(
    f"forced, the letters of another phrase: {1 - swapped[real].mean():.0%} of the phonemes right, loss {nats:.2f} nats"
)
print(f"forced, its own letters:               {1 - forced[real].mean():.0%} of the phonemes right")

# %% [markdown]
# With letters that can only mislead it, it is still right more than half as often. After "S T R IH" a reader of
# manuals can guess the next phoneme without looking. A decoder under teacher forcing is a language model first, and
# the language alone takes it a long way.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** 64 numbers of 32 bits are 2,048 bits. 48 characters, each one of 28, take less than 5 bits each, 240
#    at most. So the vector is large enough. Why does the reader fail all the same?
# 2. **By hand.** "an" is AE N. Write its rows of `target_in` and `target_out` in a batch whose longest phrase has 4
#    phonemes. How many targets count?
# 3. **Mend.** Somebody wants the loss to count phonemes only, and ignores END as well as PAD. What goes wrong, and when
#    does it show?
# 4. **Predict.** Sutskever et al. had an encoder that reads in one direction only, and fed it the sentence *backwards*.
#    Translations became much better. The bottleneck stayed as it was: what changed?
# 5. **Change.** Show the letters of another phrase to the reader with attention: call `forced_errors(attending, ...)`
#    in the last cell. Will it be right more or less often than the fixed vector?
#
# <details><summary>Answers</summary>
#
# 1. Room is not the trouble; packing is. Both halves must *learn* a code in which any phrase can be laid into 64
#    numbers and picked out again by an LSTM, token by token, from gradients that arrive as one sum. Attention leaves
#    each letter where it is, and there is nothing to pack.
# 2. START AE N PAD PAD and AE N END PAD PAD, five steps, since the longest needs its END. Three count.
# 3. Nothing shows in training. But writing END was never rewarded, so by itself the reader does not know when to stop,
#    and babbles on until the limit of steps. END is a token like any other: count it.
# 4. The distance. The first words of the source now stand next to the first words of the answer, so their gradient
#    has a short way, and the decoder gets off to a good start. The average distance is as before.
# 5. Far less often: about one in six. It has learned to rely on the letters, so wrong letters mislead it. To be misled
#    is a sign that a model listens.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** what a batch needs: both targets of all its rows, one step apart. `tokens` holds what should be written, row
# b in its first `lengths[b]` places; what stands behind them is left over from something else and means nothing. The
# ids of START, END and PAD are handed in. `check.shifted.hint(1)` is there if you are stuck.


# %%
def shifted(tokens, lengths, start, end, pad):
    """tokens (B, T) ids, lengths (B,) from 0 to T, start, end, pad an id each -> target_in, target_out, (B, T + 1).

    A row of target_in: START, its tokens, and PAD to the end. A row of target_out: its tokens, END, and PAD to the end.
    """
    ### BEGIN SOLUTION
    B, T = tokens.shape
    place, length = np.arange(T + 1), lengths[:, None]
    target_in = np.concatenate([np.full((B, 1), start), tokens], axis=1)
    target_in = np.where(place <= length, target_in, pad)
    target_out = np.concatenate([tokens, np.full((B, 1), pad)], axis=1)
    target_out = np.where(place < length, target_out, np.where(place == length, end, pad))
    return target_in, target_out
    ### END SOLUTION


# %%
check.shifted(shifted)

# %% [markdown]
# ## Read
#
# - Sutskever, Vinyals & Le 2014, *Sequence to sequence learning with neural networks*, arXiv:1409.3215, section 3.3:
#   the source backwards.
# - Cho et al. 2014, *Learning phrase representations using RNN encoder-decoder for statistical machine translation*,
#   arXiv:1406.1078, section 2.2: the vector shown at every step, as here.
# - Cho, van Merriënboer, Bahdanau & Bengio 2014, *On the properties of neural machine translation: encoder-decoder
#   approaches*, arXiv:1409.1259: quality against length of the sentence, the observation that led to attention.
# - Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, figure 2: the scissors in translation (not reproduced here).
# - Bengio, Vinyals, Jaitly & Shazeer 2015, *Scheduled sampling for sequence prediction with recurrent neural networks*,
#   arXiv:1506.03099: one attempt to bridge forced and free.
