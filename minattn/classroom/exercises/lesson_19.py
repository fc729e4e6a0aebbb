"""Ten gradients that looked right: what a test can see, and two backward passes to mend."""

from minattn.classroom.exercise import Exercise, Mistake, Prediction, sizes


def _steps(rng):
    B, T, I, N = sizes(rng, "BTIN")
    T = 8 if T == 2 else T  # in two steps nothing can add up twice; 8 is no size of the others
    return {
        "x": rng.normal(size=(B, T, I)),
        "W": rng.normal(size=(I, N)) / I**0.5,
        "U": rng.normal(size=(N, N)) / N**0.5,
    }


def _rows(rng):
    B, T, M = sizes(rng, "BTM")
    return {"x": rng.normal(size=(B, T, M)) + 0.5, "gain": rng.uniform(0.5, 2, size=M)}


EXERCISES = (
    Prediction(
        "caught_by",
        "19",
        "a small error in a gradient is rounding",
        right="b",
        replies={
            "a": "No training would show it: 1.01 times a step is as good as a step, and Adam does not notice at all. "
            "And one part in a hundred of a small gradient is far below a tolerance of 0.01. So these two pass it too.",
            "b": "Yes. One part in a hundred is ten thousand million times what rounding does, and an exact check sees "
            "it wherever it looks. Shapes are right, the loss falls as before, and 1% of a small gradient is less than "
            "0.01.",
            "c": "A factor of 1.01 is there in any batch and at any start: nothing makes it neutral. So the exact "
            "checks see it as well, at their poor places.",
        },
    ),
    Exercise(
        "rnn_backward",
        "19",
        "W_hidden was multiplied by the state that came out of the step",
        _steps,
        hints=(
            "Two of the three gradients are right. Which lines do they need, and which line is needed by the third "
            "alone?",
            "dx and dW are made of dtotal, and dx of the first step needs dhidden of all later ones: so these are "
            "right. What remains is the line of U. Which state did forward multiply by U in the step t?",
            "hidden has T + 1 entries: hidden[0] is the zeros before the first step, hidden[t + 1] is what step t "
            "makes. In forward, hidden[-1] is the state that was last when the step began.",
        ),
        mistakes=(
            Mistake(
                "U meets the state after its step",
                {"hidden[t].T @ dtotal": "new.T @ dtotal"},
                "In forward U was multiplied by another state than the one that came out of the step.",
            ),
            Mistake(
                "back-propagation is cut off after one step",
                {"dhidden = dtotal @ U.T": "dhidden = 0"},
                "A state is used by the next step too, and hears from there what it did to all later outputs.",
            ),
            Mistake(
                "U is not transposed in backward",
                {"dhidden = dtotal @ U.T": "dhidden = dtotal @ U"},
                "What went forward through a matrix comes back through its transpose; U is square, so no shape tells.",
            ),
            Mistake(
                "the slope of tanh is passed over on the way back through time",
                {"dhidden = dtotal @ U.T": "dhidden = (dout[:, t] + dhidden) @ U.T"},
                "Between a state and the one before lies a tanh as well as U.",
            ),
            Mistake(
                "the slope of tanh is taken at the state before",
                {"new = hidden[t + 1]": "new = hidden[t]"},
                "1 - y * y is the slope of tanh where y is its result: the new state.",
            ),
            Mistake(
                "the slope of tanh is 1 - hidden",
                {"(1 - new * new)": "(1 - new)"},
                "The slope of tanh is 1 - y * y; 1 - y is half of the slope of a sigmoid.",
            ),
            Mistake(
                "what comes through time is added up twice",
                {"dhidden = dtotal @ U.T": "dhidden = dhidden + dtotal @ U.T"},
                "dtotal holds dhidden of the later steps already.",
            ),
            Mistake(
                "gradients of the matrices are assigned at each step, not added",
                {"dW += ": "dW = ", "dU += ": "dU = "},
                "W and U are used at every step, so their gradients are sums over the steps.",
            ),
        ),
        given="rnn",
        broken="U meets the state after its step",
    ),
    Exercise(
        "rms_norm_backward",
        "19",
        "what a row is divided by is a constant",
        _rows,
        hints=(
            "Double a whole row of x. What happens to the output? What follows for the sum of dx * x over a row, and "
            "is it so here?",
            "The output does not change: a row is divided by its own size. So the slope along x itself is 0, and (dx * "
            "x).sum(axis=-1) must be 0 in each row. x stands in the formula twice, and one of the two is forgotten.",
            "As in layer norm (number 3), each x also moves the rms of its row. What is taken off is normalized, times "
            "one number for each row: a mean over the row of two factors that you have already.",
        ),
        mistakes=(
            Mistake(
                "the rms is taken for a constant",
                {
                    "(dnormalized - normalized * (dnormalized * normalized).mean(axis=-1, keepdims=True)) / rms": (
                        "dnormalized / rms"
                    )
                },
                "Every x of a row moves its rms, and all of the row hears that.",
            ),
            Mistake(
                "the gain is pulled outside the mean",
                {"(dnormalized * normalized).mean": "gain * (dout * normalized).mean"},
                "The mean runs over the features, and each has a gain of its own.",
            ),
            Mistake(
                "a sum where forward takes a mean",
                {"(dnormalized * normalized).mean": "(dnormalized * normalized).sum"},
                "The rms is the root of a mean of squares, so its slope has the 1 / M of the mean.",
            ),
            Mistake(
                "a mean is taken off, as layer norm does",
                {"(dnormalized - normalized": ("(dnormalized - dnormalized.mean(axis=-1, keepdims=True) - normalized")},
                "Forward takes no mean off, so backward has none to answer for.",
            ),
            Mistake(
                "the mean runs over the steps",
                {"mean(axis=-1, keepdims=True)) / rms": "mean(axis=-2, keepdims=True)) / rms"},
                "Each row of M features is divided by a size of its own: the mean runs over the features.",
            ),
            Mistake(
                "the mean is taken with x, not with what was normalised",
                {"(dnormalized * normalized).mean": "(dnormalized * x).mean"},
                "One rms is missing: what is taken off would grow with the size of the row, and what it is taken off "
                "does not.",
            ),
            Mistake(
                "dgain leaves out the rms",
                {"(dout * normalized).sum(axis=(0, 1))": "(dout * x).sum(axis=(0, 1))"},
                "The gain was multiplied by the row after its division by the rms.",
            ),
            Mistake(
                "dgain is an average",
                {"(dout * normalized).sum(axis=(0, 1))": "(dout * normalized).mean(axis=(0, 1))"},
                "One gain serves all rows, so its gradient is their sum: the mean belongs to the loss.",
            ),
        ),
        given="rms_norm",
        broken="the rms is taken for a constant",
    ),
)
