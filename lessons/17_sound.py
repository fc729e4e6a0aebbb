# %% [markdown]
# # 17 · Sound
#
# **You will be able to** turn a sound into a picture that a network can read, and say what its axes mean; let one
# query find a word in noise; and measure how much of its attention lies on the word, although nobody told it where
# the word is.
#
# *Needs lessons 04 and 07; lesson 16 helps. Thirty minutes.*

# %%
import math

import numpy as np
from matplotlib import pyplot as plt

from minattn import tree
from minattn.attention import dot
from minattn.classroom import agree, check, data, keep, source
from minattn.data import spoken
from minattn.functions import linear, softmax
from minattn.gradcheck import adjoint
from minattn.models import pooling, speech
from minattn.plots import curves
from minattn.plots.canvas import COLOURS
from minattn.recurrent import bidirectional, layers

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# A recording of a second and a half. Somewhere in it one word is said, "zero" to "nine"; the rest is noise, which is
# there during the word as well. Which word is it?
#
# *These sounds are synthetic.* A program, eSpeak NG, said every word, in voices that differ in accent, pitch and speed.
# No person spoke. Whoever hears these digits well has learned to hear this program.
#
# A sound is a row of numbers: how far the air is pushed, 8,000 times in a second. In such a row even a person cannot
# read the word. So the sound is cut into **frames** of 25 milliseconds, a new one every 20, and for each frame it is
# asked how much power there is at each pitch, from low to high. Drawn as a picture, time to the right and pitch
# upwards, that is a **spectrogram**.

# %%
clips = spoken.load()
train, test = spoken.split(clips)  # no voice is in both
example = next(i for i in test if spoken.WORDS[clips.digit[i]] == "seven")
placed = spoken.place(clips, [example], np.random.default_rng(4), snr=(10, 10))
frames = spoken.log_mel(placed.sounds)  # (B, T, I) = (1, 74, 32)
start, stop = placed.starts[0] / spoken.RATE, placed.stops[0] / spoken.RATE
time = spoken.WINDOW / 2 + spoken.HOP * np.arange(frames.shape[1])  # the middle of each frame, in seconds
middles = spoken.mel_inverse(np.linspace(spoken.mel(spoken.LOW), spoken.mel(spoken.RATE / 2), spoken.BANDS + 2))[1:-1]


def spectrogram(ax, frames, **options):
    """A picture of log-mel frames (T, I), with some bands marked by their frequency."""
    half = spoken.HOP / 2
    edges = (time[0] - half, time[0] + spoken.HOP * len(frames) - half, -0.5, spoken.BANDS - 0.5)
    marks = [0, 8, 16, 24, 31]
    ax.set_yticks(marks, [f"{middles[band]:.0f}" for band in marks])
    return ax.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=edges, **options)


figure, (above, below) = plt.subplots(2, 1, figsize=(9, 4.8), sharex=True, height_ratios=(1, 2), layout="constrained")
above.plot(np.arange(placed.sounds.shape[1]) / spoken.RATE, placed.sounds[0], color=COLOURS[6], linewidth=0.4)
above.axvspan(start, stop, color=COLOURS[1], alpha=0.3, label="the word")
above.set(ylabel="pressure\n(loudest = 1)", title="“seven” in noise: as a wave, and as a log-mel spectrogram")
above.legend(loc="upper left")
shown = spectrogram(below, frames[0])
for edge in (start, stop):
    below.axvline(edge, color="white", linestyle="--", linewidth=1)
below.set(xlabel="time (s)", ylabel="mel band (Hz at its peak)")
figure.colorbar(shown, ax=below, label="log power (nats)")
keep(figure, "17_spectrogram")

# %% [markdown]
# The bright stripes are the two vowels of the word, each with peaks at pitches of its own; the hiss of the *s* before
# them drowns in the noise. Why *log-mel*?
#
# - **mel**: to the ear 200 and 300 Hz lie far apart, 3,200 and 3,300 close together. So the 32 bands of the picture are
#   narrow below and wide above, in equal steps of a scale called mel.
# - **log**: the ear hears ratios. A sound with ten times the power adds the same amount to the logarithm, wherever it
#   started.
#
# A bidirectional LSTM (lesson 05) reads the frames from both sides, and writes 64 numbers for each moment. Then one
# learned query looks at all 74 moments and takes their average, by weight; from that average the digit is read. It was
# trained on 600 batches of 64 recordings, each with noise of its own, and was told the digit, never the place. Its
# parameters are in a file that `lessons/data/make_17_spoken.py` made. The voices below were never heard in training.

# %%
saved, _ = data("17_poolings.npz")
scale = saved.pop("scale")  # of the features in training
trained = tree.astype(saved, np.float64)


def record(chosen, rng, **options):
    """Recordings of clips -> features (B, T, I) on the scale of training, which frames hold the word (B, T)."""
    placed = spoken.place(clips, chosen, rng, **options)
    features = (spoken.log_mel(placed.sounds) - scale["centre"]) / scale["spread"]
    return features, spoken.word_frames(placed.starts, placed.stops, features.shape[1])


listener = trained["attention"]
chosen = np.repeat(test, 2)
features, on_word = record(chosen, np.random.default_rng(0))
logits, cache = speech.forward(listener, features)
answers, weights = logits.argmax(axis=-1), cache.weights  # (B,), (B, T)

picked = [int(np.flatnonzero(clips.digit[chosen] == digit)[k]) for digit, k in ((3, 4), (6, 8), (7, 12), (8, 1))]
figure, axes = plt.subplots(
    2, 4, figsize=(13, 4.6), sharex=True, sharey="row", height_ratios=(3, 1.5), layout="constrained"
)
for i, (above, below) in zip(picked, axes.T, strict=True):
    spectrogram(above, features[i], vmin=-2.5, vmax=2.5)
    above.set_title(f"“{spoken.WORDS[clips.digit[chosen[i]]]}”, heard as “{spoken.WORDS[answers[i]]}”", fontsize=11)
    inside = time[on_word[i]]
    below.axvspan(inside[0] - spoken.HOP / 2, inside[-1] + spoken.HOP / 2, color="#d9d9d9", label="the word")
    below.fill_between(time, weights[i], color=COLOURS[1], alpha=0.4, linewidth=0)
    below.plot(time, weights[i], color=COLOURS[1], label="attention")
    below.set(xlabel="time (s)", ylim=(0, None))
axes[0, 0].set_ylabel("mel band (Hz at its peak)")
axes[1, 0].set_ylabel("weight")
axes[1, 0].legend(fontsize=8, loc="upper right")
figure.suptitle(
    "The query listens where the word is, and nobody told it where (bright: more power than usual in that band)"
)
keep(figure, "17_where_it_listens")

print(f"share of the attention that lies on the word: {(weights * on_word).sum(axis=1).mean():.0%}")
print(f"share of the time that the word takes:        {on_word.mean():.0%}")

# %% [markdown]
# The word is well under half of the time and gets nearly all of the attention. It had to be found from the digits
# alone: whatever helped to name the digit was rewarded, and noise does not help. One of the four is heard wrongly,
# and its map looks as good as the others.

# %% [markdown]
# **Predict.** The same recordings are played backwards to the same model: the frames in reverse order. What happens to
# the attention, and to the answers?
#
# - a: the map is reversed as well, and the digits are heard as before, since pooling does not know an order
# - b: the attention is spread over the noise, and most digits are heard wrongly
# - c: the attention is on the word as before, and most digits are heard wrongly

# %%
### BEGIN SOLUTION
reversed_sound = "c"
### END SOLUTION
check.reversed_sound(reversed_sound)

# %%
for name, played, there in (("forwards", features, on_word), ("backwards", features[:, ::-1], on_word[:, ::-1])):
    heard, listened = speech.forward(listener, played)
    lying, right = (listened.weights * there).sum(axis=1).mean(), (heard.argmax(axis=-1) == clips.digit[chosen]).mean()
    print(f"{name:10} {lying:.0%} of the attention on the word, {right:.0%} of the digits heard rightly")
nines = heard.argmax(axis=-1)[clips.digit[chosen] == spoken.WORDS.index("nine")]  # what they are heard as, backwards
print(f"of {len(nines)} times “nine” backwards, {(nines == spoken.WORDS.index('one')).sum()} are heard as “one”")

# %% [markdown]
# To have found the word is not to have understood it. A voice is a voice backwards too, and stands out from noise. But
# the two LSTMs read one moment after the other, and to them *nine* backwards is most like *one*.

# %% [markdown]
# ## Compute
#
# Three moments: noise, word, noise. The LSTM has written two numbers for each, let us say (how much voice, how much
# noise). The query is √2 · (1, 0): it asks for voice. The score is the dot product over √2.
#
# | moment | written | score | e to that | weight |
# |---|---|---|---|---|
# | noise | (0, 1) | 0 | 1 | 1 / 9.389 = 0.107 |
# | word | (2, 0) | 2 | 7.389 | 7.389 / 9.389 = 0.787 |
# | noise | (0, 1) | 0 | 1 | 0.107 |
#
# Three ways to make one vector of the three moments:
#
# - **attention**: 0.107 · (0, 1) + 0.787 · (2, 0) + 0.107 · (0, 1) = (1.574, 0.213), mostly word;
# - **mean**: (0.667, 0.667), a third of it word;
# - **last state**: (0, 1). What the word was has to be carried here by the LSTM itself, through the noise behind it.
#
# Now let the noise go on for three moments more. The sum becomes 12.389. The word still has 7.389 / 12.389 = 0.596 of
# the attention, but only 1/6 of the mean.

# %%
written = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]])  # (T, M)
query = np.sqrt(2) * np.array([[1.0, 0.0]])  # (1, M)
for x in (written, np.concatenate([written, [[0.0, 1.0]] * 3])):
    shares = softmax(x @ query[0] / np.sqrt(2))  # (T,)
    print(
        "attention", shares @ x, "  mean", x.mean(axis=0), "  last", x[-1], "  weight of the word", shares[1].round(3)
    )
    agree(pooling.forward({"query": query, "attention": {}}, x[None])[0][0], shares @ x)

# %% [markdown]
# *You can go on to lesson 18 from here. What follows builds the spectrogram, and compares the three ways on real
# tasks.*

# %% [markdown]
# ## Derive
#
# **A log-mel spectrum.** Multiply a frame $x_n$ of 200 samples by a window $w_n$ that fades in and out (a frame cut
# with sharp edges would sound of its edges). Compare it with a wave of each frequency f; a complex exponential is a
# cosine and a sine at once, so that it does not matter when the wave begins:
#
# $$\text{power}(f) = \frac{\left| \sum_n w_n \, x_n \, e^{-2 \pi i f n / \text{rate}} \right|^2}{\sum_n w_n^2}
#   \qquad \text{mel}(f) = 2595 \log_{10}\left(1 + \frac{f}{700}\right)$$
#
# Each band averages the power under a triangle; the triangles have their peaks at equal steps in mel, and each ends
# where its neighbours have theirs. Last comes the logarithm, with a small number inside so that silence is not $\log
# 0$:
#
# $$\text{feature}_b = \ln\left(10^{-7} + \sum_f \text{triangle}_b(f) \; \text{power}(f)\right)$$
#
# **The model.** Outputs $h_1 \dots h_T$ of the two LSTMs, side by side; one query q; a matrix:
#
# $$w = \text{softmax}\left(\frac{h \, q}{\sqrt M}\right) \qquad \text{context} = \sum_t w_t \, h_t \qquad
#   \text{logits} = \text{context} \; W + b$$
#
# **How much the word gets.** Let every moment of the word score g more than every moment of noise, and let the noise
# be r times as long as the word. Then
#
# $$\text{weight on the word} = \frac{1}{1 + r \, e^{-g}} \qquad\qquad \text{in the mean: } \frac{1}{1 + r}$$
#
# Attention divides the noise by $e^g$. **Backward** says the same of learning: the mean sends every moment the same
# gradient, dcontext / T; attention sends $w_t$ dcontext, and besides moves the scores (lesson 16 derives both); the
# last state sends it to one moment, and through time from there.

# %% [markdown]
# ## Equal to the library
#
# One frame of the spectrogram from its formula, every wave written out:

# %%
rng = np.random.default_rng(0)
sound, rate, size = rng.normal(size=500), spoken.RATE, 512
width, step = round(spoken.WINDOW * rate), round(spoken.HOP * rate)  # 200 samples, a frame every 160
n, f = np.arange(width), np.arange(size // 2 + 1) * rate / size  # (samples,), (frequencies,)

window = 0.5 - 0.5 * np.cos(2 * np.pi * n / width)  # fades in and out
waves = np.exp(-2j * np.pi * f[:, None] * n / rate)  # (frequencies, samples)
power = np.abs(waves @ (window * sound[step : step + width])) ** 2 / (window @ window)  # (frequencies,)

peaks = spoken.mel_inverse(np.linspace(spoken.mel(60), spoken.mel(rate / 2), 34))  # the ends, and 32 peaks
triangles = np.stack([np.interp(f, peaks[b : b + 3], [0, 1, 0]) for b in range(32)])  # (bands, frequencies)
triangles /= triangles.sum(axis=1, keepdims=True)
agree(np.log(1e-7 + triangles @ power), spoken.log_mel(sound)[1])

# %% [markdown]
# The whole model from its parts. And its backward: the adjoint test compares $\langle J v, u \rangle$ with $\langle
# v, J^\top u \rangle$ for random v and u, where the left side comes from forward alone (a complex step) and the right
# side from backward. A mistake in any gradient would show.

# %%
(outputs, _), _ = layers.forward(listener["layers"], features[:5], cell=bidirectional)  # (B, T, 2N)
context, asked = dot.forward({}, listener["pooling"]["query"], outputs, outputs)  # (B, 1, 2N)
agree(linear(context[:, 0], listener["W_out"], listener["b_out"]), speech.forward(listener, features[:5])[0])
agree(asked.weights[:, 0], weights[:5])
agree(adjoint(speech, listener, (features[:2, :20],)), 0.0)

# %%
source(speech.forward)

# %% [markdown]
# ## Three ways to make one vector
#
# The same LSTM was trained three times from the same start: with the query, with the mean of all moments, and with the
# last state of each direction. Here are three seeds each, on 500 recordings of voices never heard:

# %%
seeds = data("17_seeds.json")
names = {"attention": "attention", "mean": "mean of all moments", "last": "last states"}
for name, label in names.items():
    shares = " ".join(f"{right:.1%}" for right in seeds["poolings"][name]["right"])
    print(f"{label:20} right: {shares}")
lying = " ".join(f"{share:.0%}" for share in seeds["poolings"]["attention"]["on_the_word"])
print(f"of the attention on the word: {lying}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for i, (name, label) in enumerate(names.items()):
    found = seeds["poolings"][name]
    left.bar(i, np.mean(found["right"]), color=COLOURS[i], width=0.6)
    left.plot([i] * 3, found["right"], "o", color="black", markersize=4, label=None if i else "one seed")
    losses = np.mean(found["losses"], axis=0)
    updates = 50 * np.arange(1, len(losses) + 1)
    right.plot(updates, losses, color=COLOURS[i], marker="os^"[i], linestyle=["-", "--", "-."][i], label=label)
left.set_xticks(range(3), names.values())
left.set(ylim=(0, 1), ylabel="share heard rightly", title="On voices never heard")
left.axhline(0.1, color=COLOURS[6], linestyle=":", label="guessing")
left.legend(loc="upper right")
right.set(xlabel="update", ylabel="loss (nats, mean over three seeds)", title="In training", yscale="log")
right.legend()
keep(figure, "17_three_ways")

# %% [markdown]
# Attention is ahead for every seed, and it learns faster, but the mean of all moments is only some points behind. The
# LSTM has read the whole recording by then, and can write less where it hears noise: that, too, is a way to weigh. All
# three do much better on the voices that they are trained on, as the loss on the right tells: what is missing on the
# left is mostly that new voices are new.

# %% [markdown]
# ## A surprise
#
# All three were trained on a second and a half. Let the same words lie in noise of three and of six seconds, with
# nothing trained anew. In six seconds the noise is more than ten times as long as the word:

# %%
lengths, many = (1.5, 3.0, 6.0), np.repeat(test, 2)
right = {label: [] for label in names.values()}
for seconds in lengths:
    features, on_word = record(many, np.random.default_rng(1), seconds=seconds)
    for name, label in names.items():
        params = trained[name]
        (outputs, _), _ = layers.forward(params["layers"], features, cell=bidirectional)  # (B, T, 2N)
        if name == "attention":
            context, asked = pooling.forward(params["pooling"], outputs)  # (B, 2N)
            lying = (asked.weights * on_word).sum(axis=1).mean()
        elif name == "mean":
            context = outputs.mean(axis=1)
        else:  # what the forward LSTM has at the end, what the backward LSTM has at the beginning
            context = np.concatenate([outputs[:, -1, :32], outputs[:, 0, 32:]], axis=-1)
        logits = linear(context, params["W_out"], params["b_out"])
        right[label].append((logits.argmax(axis=-1) == clips.digit[many]).mean())
    print(f"{seconds} s: the word is {on_word.mean():.0%} of the time and has {lying:.0%} of the attention")

ax = curves(
    right,
    lengths,
    xlabel="length of the recording (s)",
    ylabel="heard rightly",
    percent=True,
    ylim=(0, 1),
    title="Four times as much noise: attention hardly notices",
)
ax.set_xticks(lengths)
keep(ax, "17_longer")

# %% [markdown]
# The mean, nearly as good before, falls behind: with every second of noise the word counts for less in it. The last
# states have to carry the word through more noise than ever in training. Attention still gives most of its weight to
# the word, because a moment is scored by what it is. How many others there are counts for little: in the formula, $1
# / (1 + r e^{-g})$ falls with r, only slowly.

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** In *Compute*, how many moments of noise are needed until the word has less than half of the attention?
# 2. **Predict.** The same recording, twice as loud. What changes in the log-mel features? In the map?
# 3. **Change.** Draw the map for a recording of pure noise, without a word. What do the weights sum to, and what does
#    the model answer?
#
# <details><summary>Answers</summary>
#
# 1. Eight: 7.389 / (7.389 + 8) = 0.480; with seven it is 0.513.
# 2. Twice as loud is four times the power: every feature (well above the floor) grows by ln 4 = 1.386. The map may
#    change, since the model was never promised that loudness does not matter; `spoken.place` makes the loudest sample
#    1 in every recording so that it need not learn this.
# 3. They sum to 1: softmax must give its weight to somebody, and a digit is named all the same. A map with a peak does
#    not prove that something is there.
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Mend** this attention pooling. Recordings of different lengths have been padded at their end to one length T, and
# `hidden` is what the LSTMs have written for each moment; `lengths` says how many moments of each recording are real.
# The padding should get no weight, whatever numbers stand there, and a recording without any real moment should have
# the context 0. Something is wrong with it. (In the library the argument `lengths` of `speech.forward` takes care of
# this.) `check.pooled.hint(1)` is there if you are stuck.


# %%
def pooled(hidden, query, lengths):
    """hidden (B, T, M), query (M,), lengths (B,): whole numbers from 0 to T -> context (B, M)."""
    scores = hidden @ query / math.sqrt(query.shape[-1])  # (B, T)
    real = np.arange(hidden.shape[1]) < lengths[:, None]  # (B, T)
    ### BEGIN SOLUTION
    scores = np.where(real, scores, -np.inf)  # (B, T)
    ### END SOLUTION
    peak = scores.max(axis=1, keepdims=True)  # (B, 1)
    shares = np.exp(scores - np.where(np.isfinite(peak), peak, 0))  # (B, T)
    total = shares.sum(axis=1, keepdims=True)  # (B, 1)
    weights = shares / np.where(total == 0, 1, total)  # (B, T)
    return (weights[:, None] @ hidden)[:, 0]  # (B, M)


# %%
check.pooled(pooled)

# %% [markdown]
# ## Read
#
# - Mirsamadi, Barsoum & Zhang 2017, *Automatic speech emotion recognition using recurrent neural networks with local
#   attention*, doi:10.1109/ICASSP.2017.7952552: attention pooling over the states of an LSTM.
# - Davis & Mermelstein 1980, *Comparison of parametric representations for monosyllabic word recognition*, IEEE
#   Transactions on Acoustics, Speech, and Signal Processing 28: mel spectra for recognition.
# - Chorowski et al. 2015, *Attention-based models for speech recognition*, arXiv:1506.07503, section 2: attention that
#   writes whole sentences, and what goes wrong when recordings get longer.
