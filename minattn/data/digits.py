"""Picture -> digit: 1,797 handwritten digits, 8 x 8 pixels each, small enough to train on in seconds.

    . . # # . . . .
    . # . . # . . .      64 numbers, or 16 patches of 2 x 2  ->  0

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998,
doi.org/10.24432/C50P49: scanned at 32 x 32 pixels, black or white; a number here is how many of 4 x 4 pixels are
black. The licence is in `licenses/`; `make_digits` made the file from the copy in scikit-learn.

A pitfall. The authors had 30 people write the training set of 3,823 digits and 13 others the test set of 1,797, to
measure how well strangers are read. scikit-learn ships that test set alone, and so does this file. Who wrote which
digit is not told, but the order of the forms seems kept: every 130 digits or so a run of 0 1 2 ... 9 begins anew, and
of neighbours in looks 59 % stand within 140 places, where chance would have 15 %. A random split puts every hand on
both sides and flatters: the nearest training image shows the right digit for 98.6 % of the test images, and for
96.1 % where the file is cut in two instead. `split` cuts unless told to shuffle.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from minattn import weights

DATA = Path(__file__).with_name("digits.npz")
COUNT, SIDE, MOST = 1797, 8, 16  # images, pixels along a side, and the darkest pixel
CUT = 1287  # digits in training: a form begins here, as 0 1 2 ... 9 0 1 2 ... 9 show


class Digits(NamedTuple):
    """Pictures and what they show: images (B, 8, 8) float64 in [0, 1], 1 for ink; labels (B,) int64, 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def load(path=None):
    """Read all digits from `path`, by default the vendored file -> Digits, in the order of the forms.

    FileNotFoundError where there is no file, ValueError with one sentence where it is not such a file.
    """
    path = Path(path or DATA)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: the digits come with the package, so install it again, "
            "or make the file with python -m minattn.data.make_digits"
        )
    try:
        arrays, _ = weights.load(path)
        images, labels = arrays["images"], arrays["labels"]
        for name, array, shape, most in [
            ("images", images, (COUNT, SIDE, SIDE), MOST),
            ("labels", labels, (COUNT,), 9),
        ]:
            if array.dtype != np.uint8 or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected uint8 {shape}")
            if array.max() > most:
                raise ValueError(f"{name} goes up to {array.max()}, expected at most {most}")
    except (ValueError, KeyError, AttributeError) as error:
        cause = f"{error.args[0]} is not in it" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} does not hold the handwritten digits, or it was damaged: {cause}") from None
    return Digits(images / MOST, labels.astype(np.int64))


def split(seed=None):
    """-> training digits (1,287) and test digits (510), each Digits.

    Without a seed the file is cut in two, so that few hands are on both sides; with one it is shuffled first, and
    results look better than strangers' digits would make them (see above).
    """
    images, labels = load()
    order = np.arange(COUNT) if seed is None else np.random.default_rng(seed).permutation(COUNT)
    return tuple(Digits(images[part], labels[part]) for part in (order[:CUT], order[CUT:]))
