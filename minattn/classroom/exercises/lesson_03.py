"""Recurrence: back-propagation through time in a leaky network, and two ways to clip."""

from minattn.classroom.exercise import Exercise, Mistake, Prediction, sizes


def _sequences(rng):
    B, T, I, N = sizes(rng, "BTIN")
    return {
        "x": rng.normal(size=(B, T, I)),
        "W_input": 0.7 * rng.normal(size=(I, N)),
        "W_hidden": 0.7 * rng.normal(size=(N, N)),
        "b": 0.5 * rng.normal(size=N),
        "leak": float(rng.uniform(0.2, 0.4)),
    }


LATER = "(1 - leak) * dhidden + dtotal @ W_hidden.T"
DTOTAL = "leak * dhidden * (1 - fresh[:, t] ** 2)"

EXERCISES = (
    Prediction(
        "clipped",
        "03",
        "every way of clipping keeps the direction",
        right="b",
        replies={
            "a": "Tempting, as both make it shorter. But (3, 0.5) becomes (1, 0.5) when its numbers are clipped: the "
            "large one has lost two thirds and the small one nothing, which is a turn.",
            "b": "Yes. Divided by its length, 3.041, it is (0.986, 0.164), and all numbers have shrunk by one factor. "
            "Clipped number by number it is (1, 0.5), which points elsewhere.",
            "c": "Tempting, since a number that was small enough need not change. But a direction is how the numbers "
            "stand to one another: 6 to 1 before, 6 to 1 when all are divided by the length, and 2 to 1 when only the "
            "large one is cut.",
        },
    ),
    Exercise(
        "leaky_backward",
        "03",
        "a state has one way to the next step",
        _sequences,
        hints=(
            "It is the backward of Derive: from the last step to the first, with one array that carries what later "
            "steps have sent. What is new is a second way from a state to the one before it.",
            "At each step: what comes from later plus doutputs[:, t]; from there through the leak and the slope of "
            "tanh to the sum inside it; from the sum to x, to the weights, and to the state before. The slope of tanh "
            "is made of fresh, not of the state.",
            "What goes to the step before is a sum of two: dhidden times 1 - leak, past tanh, and dtotal times the "
            "transpose of W_hidden. The state that W_hidden was multiplied by at step t is states[:, t].",
        ),
        mistakes=(
            Mistake(
                "an output's gradient takes the place of the next step's",
                {"later + doutputs[:, t]": "doutputs[:, t]"},
                "The state is an output and goes on to the next step: two uses, two gradients, one sum. Without it "
                "each step learns for its own output alone.",
            ),
            Mistake(
                "the old state's direct way is cut",
                {LATER: "dtotal @ W_hidden.T"},
                "The state before reaches the new one twice: inside tanh, and as it is, in the part that is kept.",
            ),
            Mistake(
                "the hidden path is cut",
                {LATER: "(1 - leak) * dhidden"},
                "The state before stands inside tanh too: a gradient comes back by W_hidden.",
            ),
            Mistake(
                "W_hidden is not transposed in backward",
                {"dtotal @ W_hidden.T": "dtotal @ W_hidden"},
                "Forward takes hidden @ W_hidden, so backward takes the transpose: W_hidden is square, and no shape "
                "complains.",
            ),
            Mistake(
                "the slope of tanh is taken at the state",
                {"fresh[:, t] ** 2": "states[:, t + 1] ** 2"},
                "1 - y^2 is the slope of tanh where y is what tanh gave. The state is a mixture of that and of the "
                "state before.",
            ),
            Mistake(
                "the leak is forgotten on the way to tanh",
                {DTOTAL: "dhidden * (1 - fresh[:, t] ** 2)"},
                "Forward multiplies what tanh gives by the leak before it joins the state.",
            ),
            Mistake(
                "leak and 1 - leak swapped in backward",
                {DTOTAL: f"(1 - leak) * {DTOTAL.removeprefix('leak * ')}", LATER: LATER.replace("(1 - leak)", "leak")},
                "In a product each factor's gradient holds the other: the old state was multiplied by 1 - leak, the "
                "new one by the leak.",
            ),
            Mistake(
                "W_input's gradient is assigned at each step, not added",
                {"dW_input += ": "dW_input = "},
                "The loop comes to the first step last, and that alone is left: += where the gradient of every step is "
                "added.",
            ),
            Mistake(
                "W_hidden is paired with the wrong step",
                {"states[:, t].T @ dtotal": "states[:, t + 1].T @ dtotal"},
                "At step t, W_hidden was multiplied by the state before the step, not by the one that came out of it.",
            ),
        ),
        given="leaky",
        core=True,
    ),
)
