# %% [markdown]
# # 00 · Look
#
# **You will be able to** watch a small network read a phrase aloud, see which letters it looks at while it says each
# sound, and see what happens to a network that must remember the whole phrase at once.
#
# *Needs nothing, no mathematics either. Five minutes.*

# %%
from difflib import SequenceMatcher

import numpy as np
from matplotlib import pyplot as plt

from minattn import look, reader
from minattn.classroom import check, keep
from minattn.data import phrases
from minattn.plots import curves, heatmap

# %% [markdown]
# ## See
#
# Two small networks have learned to read aloud. Letters go in, **phonemes** come out: the sounds of speech, which are
# written with one or two capitals. They were trained on 12,000 phrases of the Python manual, and nobody told them which
# letters make which sound.
#
# - One must first read everything and squeeze it into a list of 64 numbers, its **fixed vector**, and then speak from
#   memory.
# - The other may **look back** at the letters before it says each sound. That is **attention**.
#
# Write a phrase here: letters and spaces, up to 48 of them.

# %%
PHRASE = "look at the right letters"

# %% [markdown]
# **Predict** before you go on. The sounds of this phrase are
#
# L UH K | AE T | DH AH | R AY T | L EH T ER Z.
#
# Where does a reader have to look to say the AY in *right*? The *gh* there is silent: does anything look at it?

# %%
params, _ = look.readers()
FIXED, ATTENTION = params  # the names of the two

SOUNDS = {}  # of every word in the data
for phrase in (text for split in phrases.load()[:3] for text in split):
    said = "/".join(phrase.phonemes).split("/ /")
    SOUNDS |= dict(zip(phrase.text.split(), (tuple(word.split("/")) for word in said), strict=True))


def right_answer(text):
    """The phonemes of a text, or None where one of its words is not in the data."""
    answer = []
    for word in text.split():
        if word not in SOUNDS:
            return None
        answer += [*([" "] if answer else []), *SOUNDS[word]]
    return tuple(answer)


def mistakes(read, right):
    """For each phoneme that was read: is it wrong?"""
    wrong = np.ones(len(read), dtype=bool)
    if right is None:
        return ~wrong  # nobody knows
    for start, _, size in SequenceMatcher(None, read, right, autojunk=False).get_matching_blocks():
        wrong[start : start + size] = False
    return wrong


def show(text):
    """Where the reader with attention looked, and below it what both have read -> the figure."""
    text, _ = look.shorten(look.plain(text))  # letters and spaces, no more than the readers can take
    readings = {name: reader.read(name, params[name], [text])[0] for name in params}
    right, attended = right_answer(text), readings[ATTENTION]
    lines = {"right": right or ("?",), "attention": attended.phonemes, "fixed vector": readings[FIXED].phonemes}

    height = 1.6 + 0.19 * len(attended.written)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(10.5, height + 1.4), height_ratios=[height, 1.4], layout="constrained"
    )
    heatmap(
        attended.weights,
        attended.written,
        [*text, "end"],
        ax=top,
        vmax=1.0,
        cbar_label="share of the attention",
        title="Where attention looks while it says each phoneme",
        xlabel="letters of the phrase",
        ylabel="phonemes, from the top",
    )
    longest = max(len(line) for line in lines.values())
    for y, line in enumerate(lines.values()):
        wrong = mistakes(line, right)
        for x, (phoneme, bad) in enumerate(zip(line, wrong, strict=True)):
            bottom.text(
                x,
                y,
                "|" if phoneme == " " else phoneme,
                ha="center",
                va="center",
                fontsize=9 if longest <= 28 else 6.5,
                color="white" if bad else "black",
                weight="bold" if bad else "normal",
                bbox={"boxstyle": "square,pad=0.2", "facecolor": "#b04a00", "linewidth": 0} if bad else None,
            )
    bottom.set(xlim=(-0.7, max(longest, 20) - 0.3), ylim=(2.6, -0.6), xticks=[], yticks=range(3), yticklabels=lines)
    unknown = "a word is not in the data, so nothing is marked" if right is None else "white on brown: wrong"
    bottom.set_title(f"What the two have read ({unknown})")
    bottom.tick_params(length=0)
    for spine in bottom.spines.values():
        spine.set_visible(False)
    return figure


keep(show(PHRASE), "00_look")

# %% [markdown]
# Each row is one sound, from the top down; the brighter a letter, the more the reader looked at it. A row named "␣"
# is a border between words.
#
# **Predict.** Say a square is 0 where it is dark, 1 where it is as bright as can be, and something between elsewhere.
# Which of these numbers sum to 1?
#
# - a: those of every column, which belong to one letter
# - b: those of every row, which belong to one sound
# - c: neither; a letter is as bright as it is important for the sound
#
# Write your letter in quotes behind the = and run the cell: it answers. Nobody counts what you get wrong.

# %%
### BEGIN SOLUTION
first_look = "b"
### END SOLUTION
check.first_look(first_look)

# %%
text, _ = look.shorten(look.plain(PHRASE))
weights = reader.read(ATTENTION, params[ATTENTION], [text])[0].weights  # a row for each sound, a column for each letter
print("the sums of the rows:", *sorted({f"{total:.2f}" for total in weights.sum(axis=1)}))
print("the sums of the columns:")
for letter, total in zip([*text, "end"], weights.sum(axis=0), strict=True):
    print(f"  {'␣' if letter == ' ' else letter:3} {total:.2f} {'#' * round(20 * total)}")

# %% [markdown]
# Every row sums to 1. No column has to: what a letter is looked at in all is left to the sounds. The bright steps run
# from the top left to the bottom right, since speech follows the letters. They are not even: two letters may make one
# sound, and a silent letter makes none. AY is read from the *i*, and the *gh* is not skipped: the reader looks at it
# while it says the T. (That this *i* is AY, and not IH as in *it*, depends on the *gh* as well. The reader knows,
# because what it finds at a letter has been made from both of its sides.)
#
# The reader with attention gets the phrase right. The other does not, though it was trained on the same phrases, for
# as long, and is about as large. It has learned a lot, too: what it says sounds like the manual. (Marked are the
# sounds that do not fit when the two lines are laid side by side as well as they can be; some of the others fit by
# chance.)
#
# **Predict** again. The next phrase is longer. Where will the fixed vector go wrong: at the start, in the middle, or at
# the end?

# %%
LONG = "return a copy of the string in which each"
keep(show(LONG), "00_long_phrase")

# %% [markdown]
# The first two words are right. Then it loses the thread, and goes on with other words that it knows from the manual.
# Let the phrase grow word by word, and ask both at each length:

# %%
words = LONG.split()
grown = [" ".join(words[: count + 1]) for count in range(len(words))]
share = {}
for name, label in ((FIXED, "fixed vector"), (ATTENTION, "attention")):
    readings = reader.read(name, params[name], grown)
    wrong = [phrases.distance(r.phonemes, right_answer(text)) for r, text in zip(readings, grown, strict=True)]
    share[label] = [count / len(right_answer(text)) for count, text in zip(wrong, grown, strict=True)]
ax = curves(
    share,
    words,
    title="Word by word, the fixed vector loses the thread; attention does not",
    xlabel="the phrase up to this word",
    ylabel="wrong phonemes",
    percent=True,
    ylim=(-0.03, 1),
)
keep(ax, "00_word_by_word")
for text, fixed, attending in zip(grown, *share.values(), strict=True):
    print(f"{fixed:4.0%} and {attending:4.0%} wrong   {text}")

# %% [markdown]
# The error does not climb evenly, but it climbs, and attention makes none. That is the reason for all that follows. A
# network that has to carry everything in one vector loses some of it on the way; one that may look back does not have
# to carry it.
#
# How does it know where to look? It asks a question, compares the question with every letter, and takes an average of
# what it finds. **Lesson 01** does that with a box of paints.

# %% [markdown]
# ## Try
#
# Change `PHRASE` above and run the notebook again. Words that do not occur in the data are read as well, but then
# nothing can be marked as wrong. Some that are worth it:
#
# 1. `write the right name`: two words that sound alike and are spelled differently. Where does attention find each R?
# 2. `through the night`: *night* was never read in training. What does attention make of it?
# 3. `xylophone`: what does a reader do with a word like no other that it has seen?
#
# <details><summary>What to look for</summary>
#
# 1. The first R is read from the *w*, the second from the *r* of *right*. The sound is the same, so it was not the
#    sound that led the reader there: it keeps its place in the phrase.
# 2. It has learned from *right* and *might* what *ight* sounds like, and says N AY T. The fixed vector says *through*
#    twice, then *the*, and never comes to *night*.
# 3. Attention says K S AY L OW N: a good guess at the letters one by one, and wrong at both x and ph. It says where to
#    look; what is seen there must have been learned. The fixed vector says S T EY P | K OW D, of all things.
#
# </details>
#
# The same from the command line: `python -m minattn look "through the night"`.
