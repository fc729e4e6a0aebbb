"""The LSTM by hand: what a shut output gate stops, and the backward of a step whose gates are coupled."""

from minattn.classroom.exercise import Exercise, Mistake, Prediction, sizes


def _step(rng):
    B, N = sizes(rng, "BN")
    return {"total": rng.normal(size=(B, 3 * N)), "cell": rng.normal(size=(B, N))}


TOTAL = "[df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)]"

EXERCISES = (
    Prediction(
        "shut_gate",
        "04",
        "a shut output gate stops the gradient along the cell",
        right="c",
        replies={
            "a": "Tempting, but the output gate does not stand on the conveyor. It decides what of the cell is shown, "
            "and what is not shown is still kept. Had it been shut at step 3, it would be 0: the error came in "
            "there.",
            "b": "Tempting, and true of most LSTMs: a shut gate cuts what comes back by the hidden state. In Compute "
            "the gates do not listen to the hidden state, so nothing came back by it before either.",
            "c": "Yes. From cell to cell a gradient passes the forget gate and nothing else. The output gate decides "
            "what is seen, not what is kept. Had it been shut at step 3, where the error comes in, nothing would "
            "be left.",
        },
    ),
    Exercise(
        "coupled_backward",
        "04",
        "a gate that is used twice has one gradient",
        _step,
        hints=(
            "Three lines of forward, from the last to the first: hidden, new, and the three gates. new is used twice: "
            "it is shown in hidden, and it is a result itself.",
            "f stands twice in new = f * cell + (1 - f) * g, once with a minus. Its two gradients add, and so do the "
            "two that reach new: the one by way of hidden, with the slope of tanh, joins dnew.",
            "Per step of f, new moves by cell - g. Then each gradient goes through its own slope, y (1 - y) for the "
            "two sigmoids and 1 - y^2 for tanh, and the three are joined along axis 1 in the order in which forward "
            "cut them.",
        ),
        mistakes=(
            Mistake(
                "the cell does not hear the next step",
                {"dnew + dhidden * o": "dhidden * o"},
                "The cell is used twice, shown now and kept for later: the gradient that has come to new itself is "
                "lost.",
            ),
            Mistake(
                "the cell does not hear what it shows",
                {"dnew + dhidden * o * (1 - shown**2)": "dnew"},
                "The hidden state is made from the cell: its gradient goes on into the cell.",
            ),
            Mistake(
                "the slope of tanh is taken at the cell",
                {"(1 - shown**2)": "(1 - new**2)"},
                "1 - y^2 is the slope of tanh where y is its result: y is tanh(new), not new.",
            ),
            Mistake(
                "the forget gate hears the old cell alone",
                {"dnew * (cell - g)": "dnew * cell"},
                "The same f decides how much goes in, as 1 - f. Where it keeps more, it also takes in less.",
            ),
            Mistake(
                "what is taken in has the wrong sign at the forget gate",
                {"dnew * (cell - g)": "dnew * (cell + g)"},
                "f stands with a minus where it decides how much goes in: 1 - f.",
            ),
            Mistake(
                "the offer passes the gate unchanged",
                {"dnew * (1 - f)": "dnew"},
                "The offer g was multiplied by 1 - f, so its gradient is.",
            ),
            Mistake(
                "the cell's gradient passes the forget gate unchanged",
                {"dcell = dnew * f": "dcell = dnew"},
                "The old cell was multiplied by the forget gate, so its gradient is.",
            ),
            Mistake(
                "the candidate has the slope of a sigmoid",
                {"dg * (1 - g**2)": "dg * g * (1 - g)"},
                "What is offered is no gate: it went through tanh.",
            ),
            Mistake(
                "gates in another order in backward",
                {TOTAL: "[df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)]"},
                "total holds the three in one order, f g o, and both passes have to keep it.",
            ),
        ),
        given="coupled",
        core=True,
    ),
)
