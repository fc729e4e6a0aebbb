"""The bottleneck: what teacher forcing hides, and targets that stand one step apart."""

import numpy as np

from minattn.classroom.exercise import Exercise, Mistake, Prediction, Property, sizes


def _batch(rng, lengths):
    """Rows of ids, and three more that no row holds; behind a row stands what was there before."""
    ids = rng.permutation(np.arange(1, 40))
    start, end, pad = (int(i) for i in ids[:3])
    T = int(max(lengths))
    tokens = rng.choice(ids[3:], size=(len(lengths), T))
    return {"tokens": tokens, "lengths": np.array(lengths), "start": start, "end": end, "pad": pad}


def _tokens(rng):
    B, T = sizes(rng, "BT")
    return _batch(rng, [*rng.integers(1, T, size=B - 1), T])


def _all_full(rng):
    B, T = sizes(rng, "BT")
    return _batch(rng, [T] * B)


def _an_empty_row(rng):
    B, T = sizes(rng, "BT")
    return _batch(rng, [T, *rng.integers(1, T, size=B - 1), 0])


def _targets(trial, drawn):
    """-> target_in, target_out, and for each step whether it is real."""
    target_in, target_out = (np.asarray(target) for target in trial.call(drawn))
    return target_in, target_out, np.arange(target_in.shape[1]) <= drawn["lengths"][:, None]


def _ends(trial):
    for drawn in trial.cases():
        target_in, target_out, _ = _targets(trial, drawn)
        if not (target_in[:, 0] == drawn["start"]).all():
            return "the first thing that the decoder is given should be START"
        if not ((target_out == drawn["end"]).sum(axis=1) == 1).all():
            return "target_out should hold END once in each row"
    return ""


def _padding(trial):
    for drawn in trial.cases():
        *targets, real = _targets(trial, drawn)
        for name, target in zip(("target_in", "target_out"), targets, strict=True):
            off = (target != drawn["pad"]) != real
            if off.any():
                row = int(off.any(axis=1).argmax())
                found, n = int((target[row] != drawn["pad"]).sum()), int(drawn["lengths"][row])
                where = "" if found != n + 1 else ", but not the right ones"
                return f"a row of length {n} has {n + 1} real steps, then PAD; {name} has {found} without PAD{where}"
    return ""


def _one_step_apart(trial):
    for drawn in trial.cases():
        target_in, target_out, real = _targets(trial, drawn)
        if not (target_in[:, 1:] == target_out[:, :-1])[real[:, 1:]].all():
            return "what the decoder should write at one step is what it should be given at the next"
    return ""


def _behind_a_row(trial):
    for drawn in trial.cases():
        tokens = drawn["tokens"].copy()
        tokens[np.arange(tokens.shape[1]) >= drawn["lengths"][:, None]] = 40
        for target, other in zip(trial.call(drawn), trial.call(drawn | {"tokens": tokens}), strict=True):
            if not np.array_equal(target, other):
                return "other ids behind the end of a row should change nothing"
    return ""


EXERCISES = (
    Prediction(
        "forced_and_free",
        "05",
        "a low loss under teacher forcing is good decoding",
        right="a",
        replies={
            "a": "Yes. One mistake is the input of the next step, mistakes pull others after them, and it soon writes "
            "another phrase. The loss never saw that: in training each step began from the right phonemes.",
            "b": "That would be so if a mistake were over when it is made. It is not: what it wrote is its next input, "
            "and after a beginning that no right phrase has the next mistake is likelier still.",
            "c": "Letters and weights are the same, but the decoder's input is not. Forced, it never sees a mistake "
            "of its own: whatever it said, the next step begins from the right phonemes. Free, it begins from its own.",
        },
    ),
    Exercise(
        "shifted",
        "05",
        "what the decoder reads and what it should say is the same row",
        _tokens,
        (
            Property("START once before, END once behind", _ends),
            Property("PAD behind a row and nowhere else", _padding),
            Property("the two stand one step apart", _one_step_apart),
            Property("what stands behind a row does not matter", _behind_a_row),
        ),
        hints=(
            "Write one short row of a longer batch on paper, both targets below each other, as in the lesson's "
            'row of "a". Where does END stand, and what is given at that step?',
            "Take a row of n tokens. What belongs at step t of target_in, and of target_out, where t < n, where t = n, "
            "where t > n? The answer depends on t and n alone, so it can be chosen for all rows at once.",
            "np.arange(T + 1) compared with lengths[:, None] makes booleans (B, T + 1), and np.where chooses by them. "
            "First lay the tokens out twice, T + 1 wide: once behind a column of START, once before a column of "
            "anything; then decide what replaces what lies at or behind the end.",
        ),
        mistakes=(
            Mistake(
                "nothing is shifted",
                {"return target_in, target_out": "return target_out, target_out"},
                "The decoder is given at each step just what it should write there, and learns to copy.",
            ),
            Mistake(
                "END stands behind the padding",
                {"place == length": "place == T"},
                "A short row ends where its tokens end: END comes first, and PAD fills up the rest. Here the decoder "
                "would be taught to write PAD and to stop when its longest neighbour does.",
            ),
            Mistake(
                "the decoder is given END",
                {
                    "np.where(place <= length, target_in, pad)": (
                        "np.where(place <= length, target_in, np.where(place == length + 1, end, pad))"
                    )
                },
                "After END nothing is asked, so END is never given: it stands in target_out alone. This comes of one "
                "row of START, tokens, END and PAD that is cut at its last and at its first place.",
            ),
            Mistake(
                "END is lost",
                {"np.where(place == length, end, pad)": "pad"},
                "Who is never asked for END never learns to stop.",
            ),
            Mistake(
                "END takes the place of the last token",
                {"place < length": "place < length - 1", "place == length": "place == length - 1"},
                "END is one step more: n tokens make n + 1 steps, the last of which has END as its target.",
            ),
            Mistake(
                "shifted twice",
                {
                    "[tokens, np.full((B, 1), pad)]": "[tokens[:, 1:], np.full((B, 2), pad)]",
                    "place < length": "place < length - 1",
                    "place == length": "place == length - 1",
                },
                "START in front has moved the inputs by one already. With the targets moved too, the decoder is asked "
                "for the token after the next.",
            ),
            Mistake(
                "lengths are not used",
                {
                    "np.where(place <= length, target_in, pad)": "target_in",
                    "place < length": "place < T",
                    "place == length": "place == T",
                },
                "A row is as long as lengths says: what stands behind it is not part of it, and its END belongs before "
                "that, not behind everything.",
            ),
            Mistake(
                "the two targets have changed places",
                {"return target_in, target_out": "return target_out, target_in"},
                "target_in is what the decoder is given, so it begins with START; target_out is what it should write.",
            ),
            Mistake(
                "PAD is taken for 0",
                {"length, end, pad)": "length, end, 0)", "target_in, pad)": "target_in, 0)"},
                "0 is an id like any other: PAD is the number that was handed in, and the loss ignores no other.",
            ),
        ),
        extremes=(_all_full, _an_empty_row),
    ),
)
