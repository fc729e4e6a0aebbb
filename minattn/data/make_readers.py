"""Make `readers.npz`: both readers of the demo, trained longer, in float16.

python -m minattn.data.make_readers [--updates 3000] [--out PATH]
"""

import argparse
from pathlib import Path

import numpy as np

from minattn import demo, reader, tree
from minattn.data import phrases
from minattn.weights import save


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m minattn.data.make_readers", description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=3000, help="training steps for each reader (default 3000)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("readers.npz"), help="the file to write")
    arguments = parser.parse_args(argv)
    settings = reader.Settings(updates=arguments.updates)
    runs, _, stopped = demo.train(reader.start(settings), settings, phrases.load().train, {})
    if stopped:
        parser.exit(1, "stopped: nothing was written\n")
    params = {name: tree.astype(run.params, np.float16) for name, run in runs.items()}
    save(arguments.out, params, settings._asdict())
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
