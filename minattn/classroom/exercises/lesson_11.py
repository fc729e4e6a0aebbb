"""The block: what a norm of two features lets through, and the backward of a norm without a mean."""

from minattn.classroom.exercise import Exercise, Mistake, Prediction, sizes


def _rows(rng):
    B, T, M = sizes(rng, "BTM")
    epsilon = float(rng.uniform(0.1, 0.5))  # large enough to be missed
    return {"x": rng.normal(size=(B, T, M)), "gain": 0.5 * rng.normal(size=M), "epsilon": epsilon}


def _a_silent_step(rng):
    """A row of zeros, which epsilon alone keeps from a division by 0."""
    drawn = _rows(rng)
    drawn["x"][:, 1] = 0
    return drawn


EXERCISES = (
    Prediction(
        "two_features",
        "11",
        "a norm only scales the gradient",
        right="a",
        replies={
            "a": "Yes. Two directions are taken away, (1, 1) and x minus its mean, and there are no more in a plane. "
            "All that can come out is (1, -1) or (-1, 1), and a small change of x changes neither.",
            "b": "Half of it is gone, by the mean: what is left has the direction (1, -1). But that is just the "
            "direction of x minus its mean, and along it nothing comes through either, as making it longer changes "
            "nothing.",
            "c": "That is the first of three terms, the one with mean and standard deviation taken for constants. Both "
            "depend on x, and here their two terms take away all that the first one brings.",
        },
    ),
    Exercise(
        "rms_backward",
        "11",
        "what a row is divided by is a constant",
        _rows,
        hints=(
            "out has three factors: 1 + gain, x and 1 / rms. Each has a gradient, and rms is made of x again: x is "
            "read in two places.",
            "One rms divides all M features of a row, so its gradient is one number for each row, a sum over the "
            "features. With respect to rms, 1 / rms has the slope -1 / rms ** 2.",
            "rms ** 2 is a mean of M squares plus epsilon: raise x by a little, and rms ** 2 grows by 2 x / M of it, "
            "rms by 1 / (2 rms) of that. gain has no axis for B and T.",
        ),
        mistakes=(
            Mistake(
                "rms norm backward pulls the gain outside the mean",
                {
                    "dscaled = dout * (1 + gain)": "dscaled = dout",
                    "return dscaled / rms + drms * x / (x.shape[-1] * rms)": (
                        "return (1 + gain) * (dscaled / rms + drms * x / (x.shape[-1] * rms))"
                    ),
                },
                "The mean runs over the features, and each has a gain of its own: only one gain for all may stand "
                "outside.",
            ),
            Mistake(
                "the rms is taken for a constant",
                {" + drms * x / (x.shape[-1] * rms)": ""},
                "Every x moves the root mean square that all of them are divided by.",
            ),
            Mistake(
                "backward takes a mean off, as layer norm does",
                {"return dscaled / rms": "return (dscaled - dscaled.mean(axis=-1, keepdims=True)) / rms"},
                "Forward takes no mean off, so backward has none to answer for.",
            ),
            Mistake(
                "the gain's gradient leaves out normalized",
                {"(dout * x / rms).sum(axis=(0, 1))": "dout.sum(axis=(0, 1))"},
                "The gain multiplies x / rms, so that is its slope.",
            ),
            Mistake(
                "the gain is taken for 1 + gain in backward",
                {"dout * (1 + gain)": "dout * gain"},
                "What multiplies in forward multiplies in backward: a stored gain of 0 lets everything through.",
            ),
            Mistake(
                "the gain's gradient is not summed over the batch",
                {"sum(axis=(0, 1))": "sum(axis=1)"},
                "One gain serves all steps of all sequences: its gradient has the shape (M,).",
            ),
            Mistake(
                "backward takes a sum for the mean",
                {"(x.shape[-1] * rms)": "rms"},
                "The squares were averaged in forward, so a feature moves their mean by only 1 / M.",
            ),
            Mistake(
                "backward divides by M twice",
                {"(x.shape[-1] * rms)": "(x.shape[-1] ** 2 * rms)"},
                "There is one mean in forward, that of the squares. What the features send back to rms is a sum.",
            ),
            Mistake(
                "the term of the rms has the wrong sign",
                {"drms = -(": "drms = ("},
                "A larger rms makes everything that is divided by it smaller.",
            ),
        ),
        given="rms_norm",
        extremes=(_a_silent_step,),
        core=True,
    ),
)
