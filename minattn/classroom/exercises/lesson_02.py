"""One gradient by hand: what was broadcast is summed, what a mean divides by, and shapes that fit and prove nothing."""

from minattn.classroom.exercise import Exercise, Mistake, sizes


def _gained(rng):
    B, T, I, V = sizes(rng, "BTIV")
    return {
        "x": rng.normal(size=(B, T, I)),
        "W": rng.normal(size=(I, V)),
        "gain": rng.uniform(1.5, 3, size=V) * rng.choice([-1, 1], size=V),
        "bias": rng.normal(size=(T, 1)),
    }


def _regression(rng):
    B, I, V = sizes(rng, "BIV")
    return {
        "x": rng.normal(size=(B, I)),
        "W": rng.normal(size=(I, V)),
        "b": rng.normal(size=V),
        "y": rng.normal(size=(B, V)),
    }


def _as_wide(rng):
    B, M = sizes(rng, "BM")
    return {"x": rng.normal(size=(B, M)), "W": rng.normal(size=(M, M)), "b": rng.normal(size=M)}


DBIAS = "dout.sum(axis=(0, 2))[:, None]"
DW = "x.reshape(-1, x.shape[-1]).T @ dproduct.reshape(-1, dproduct.shape[-1])"

EXERCISES = (
    Exercise(
        "gained_linear_backward",
        "02",
        "a bias is always summed over all axes but the last",
        _gained,
        hints=(
            "Two lines of forward, in reverse: first out = gain * product + bias, which gives three gradients, then "
            "product = x @ W, which gives two of what has come so far.",
            "Write down the shape of each array and compare it with (B, T, V). The axes that it lacks, and those "
            "where it has 1, are those along which forward repeated it: there its slopes are summed.",
            "The bias was repeated along B and along V, the gain along B and T. The slope of out by the gain is "
            "product, by product it is the gain. For W, reshape makes one long list of the B * T rows of x.",
        ),
        mistakes=(
            Mistake(
                "the bias's gradient is averaged",
                {DBIAS: "dout.mean(axis=(0, 2))[:, None]"},
                "A bias moves everything that it was added to, and hears from each of them: a sum. If the loss is a "
                "mean, its division is in dout already.",
            ),
            Mistake(
                "the bias is summed over the batch alone",
                {DBIAS: "dout.sum(axis=0)"},
                "It was repeated along the features as well: its last axis is 1, where out has V.",
            ),
            Mistake(
                "the bias is summed over all axes but the last",
                {DBIAS: "dout.sum(axis=(0, 1))"},
                "That is right for a bias (V,). This one is (T, 1): time is the axis it has, and the features are the "
                "axis along which it was repeated.",
            ),
            Mistake(
                "the bias is scaled in backward",
                {DBIAS: "(dout * gain).sum(axis=(0, 2))[:, None]"},
                "The bias was added after the gain, so the gain does not stand between it and out.",
            ),
            Mistake(
                "the gain is forgotten on the way to x and W",
                {"dout * gain": "dout"},
                "The product was multiplied by the gain before it became out: slopes along a path multiply.",
            ),
            Mistake(
                "the gain's gradient leaves out what it multiplied",
                {"(dout * product)": "dout"},
                "Per step of the gain, out moves by what the gain multiplies. Without that it is the gradient of a "
                "bias.",
            ),
            Mistake(
                "the gain's gradient is multiplied by the gain",
                {"(dout * product)": "(dout * gain * product)"},
                "The slope of gain * product by the gain is the product, and the gain does not stand in it.",
            ),
            Mistake(
                "W's gradient is averaged over the batch",
                {DW: f"{DW} / len(x)"},
                "Every row of every sequence has used W, and W hears from each: a sum. Nothing in forward divides.",
            ),
            Mistake(
                "W's gradient is that of the last sequence alone",
                {DW: "x[-1].T @ dproduct[-1]"},
                "In a loop over the sequences, = keeps what came last. W has served all of them: +=.",
            ),
        ),
        given="gained_linear",
        core=True,
    ),
    Exercise(
        "squared_loss_backward",
        "02",
        "a mean divides by the number of rows",
        _regression,
        hints=(
            "The last line undoes difference = x @ W + b - y. If something were wrong there, one of the four gradients "
            "would be wrong alone. Are they?",
            "All four are too large by the same factor. Take B = 1 and V = 2 and write the loss down: how far does it "
            "move with the first difference?",
            "mean() adds B * V squares, and divides by how many it has added. len(difference) is a different number.",
        ),
        mistakes=(
            Mistake(
                "divided by the number of rows, not of numbers",
                {"difference.size": "len(difference)"},
                "The mean of an array (B, V) divides by B * V. Divided by B alone, every gradient is V times too "
                "large: the direction is right, and the length is not.",
            ),
            Mistake(
                "divided by the number of features",
                {"difference.size": "difference.shape[1]"},
                "The mean of an array (B, V) divides by B * V, not by V alone.",
            ),
            Mistake(
                "not divided by the count",
                {" / difference.size": ""},
                "The loss is a mean, so each of its numbers moves it by one part of what it would move a sum.",
            ),
            Mistake(
                "the 2 of the square is forgotten",
                {"dloss * 2 * difference": "dloss * difference"},
                "The slope of a square is twice what was squared. The 2 is gone only where the loss has a 1/2 in "
                "front.",
            ),
            Mistake(
                "the upstream gradient is ignored",
                {"dloss * 2 * difference": "2 * difference"},
                "dloss says how what comes later moves with this loss: it is 1 only where nothing comes later.",
            ),
            Mistake(
                "the target's gradient has the wrong sign",
                {"-ddifference": "ddifference"},
                "y is subtracted: where it grows, the difference shrinks.",
            ),
        ),
        given="squared_loss",
        broken="divided by the number of rows, not of numbers",
    ),
    Exercise(
        "leftover_backward",
        "02",
        "shapes that fit prove a gradient",
        _as_wide,
        hints=(
            "The first part of dx, by which x goes to out as it is, is right, and so is db. Look at the two products.",
            "Write both with indices, for M = 2: which out does x[b, i] move by way of W, and with which number of W? "
            "Forward takes x[b, i] times W[i, j] to out[b, j].",
            "dx[b, i] sums dout[b, j] over j, with W[i, j]; dW[i, j] sums x[b, i] times dout[b, j] over b. In which of "
            "the two products does which array have to be transposed?",
        ),
        mistakes=(
            Mistake(
                "both products are transposed",
                {"dout @ W.T": "dout @ W", "-x.T @ dout": "-dout.T @ x"},
                "With W as wide as high, W and its transpose fit equally well, and so do both orders of the other "
                "product. Wherever a matrix may be square, shapes say nothing: write the sums.",
            ),
            Mistake(
                "W is not transposed in backward",
                {"dout @ W.T": "dout @ W"},
                "Forward takes x to out with W, and backward takes dout back with its transpose. W is square, and no "
                "shape complains.",
            ),
            Mistake(
                "dW is transposed",
                {"-x.T @ dout": "-dout.T @ x"},
                "W[i, j] carries x[b, i] to out[b, j], so dW[i, j] is made of x[b, i] and dout[b, j], in this order.",
            ),
            Mistake(
                "the residual is dropped in backward",
                {"dout - dout @ W.T": "-dout @ W.T"},
                "x goes to out by two ways, and slopes over several paths add. One of them goes past W.",
            ),
            Mistake(
                "the way through W has the wrong sign",
                {"dout - dout @ W.T": "dout + dout @ W.T", "-x.T @ dout": "x.T @ dout"},
                "What W makes of x is taken off in forward, so its way back has a minus as well.",
            ),
            Mistake(
                "W's gradient is averaged over the rows",
                {"-x.T @ dout": "-x.T @ dout / len(x)"},
                "All rows have used W, and W hears from each: a sum. Nothing in forward divides.",
            ),
        ),
        given="leftover",
        broken="both products are transposed",
    ),
)
