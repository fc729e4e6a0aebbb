"""Make `digits.npz`: the handwritten digits that come with scikit-learn, a byte for each pixel.

    pip install scikit-learn
    python -m minattn.data.make_digits [--output PATH]

The pixels and their order stay as they are. The same data make the same bytes with the same zlib.
"""

import argparse
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from minattn import weights
from minattn.data.digits import DATA, load

ABOUT = (
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998, "
    "the test set, as scikit-learn {version} ships it"
)


def build():
    """-> arrays and about, as `weights.save` takes them."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("The digits come from the package scikit-learn, which is not here: pip install scikit-learn")
    found = load_digits()
    arrays = {"images": found.images.astype(np.uint8), "labels": found.target.astype(np.uint8)}
    if not (np.array_equal(arrays["images"], found.images) and np.array_equal(arrays["labels"], found.target)):
        sys.exit("These digits are not whole numbers from 0 to 255: another version of scikit-learn?")
    version = metadata.version("scikit-learn")
    return arrays, {"about": ABOUT.format(version=version), "scikit-learn": version}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m minattn.data.make_digits", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DATA, help="the file to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if not arguments.output.parent.is_dir():
        parser.error(f"there is no folder {arguments.output.parent} to write {arguments.output.name} to")
    arrays, about = build()

    def write(partial):
        weights.save(partial, arrays, about)
        load(partial)  # what cannot be read again never takes the place of what was there

    weights.replace(arguments.output, write)
    print(about["about"])
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes, {len(arrays['labels']):,} digits")


if __name__ == "__main__":
    main()
