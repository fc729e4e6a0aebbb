"""python -m minattn lessons build | check | copy | list."""

import argparse
import concurrent.futures
import subprocess
import sys
from pathlib import Path

from minattn.classroom import shelf
from minattn.threads import cores

HELP = """
examples:
  python -m minattn lessons list
  python -m minattn lessons list --exercises     what is asked, and which beliefs it is after
  python -m minattn lessons copy course          the notebooks, to learn from, in a new folder
  python -m minattn lessons build                run every lesson, write its notebook and its figures
  python -m minattn lessons build 6 7 --jobs 1
  python -m minattn lessons build --student --out release    for a class: no solution is left in them
  python -m minattn lessons build --solution --out solved    for its teacher
  python -m minattn lessons build --nbgrader --out course    the graded exercises as an nbgrader course
  python -m minattn lessons check                is every notebook made from the source beside it?
  python -m minattn lessons check --run          and does it still print and draw the same?
  python -m minattn lessons check --since HEAD~1 and do those whose source git says has changed since then?

exit status: 0, or 1 where a lesson fails or a notebook is not what its source makes
"""


def add_arguments(parser):
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    listed = actions.add_parser("list", help="what there is to learn")
    build = actions.add_parser("build", help="run lessons and write their notebooks and figures")
    check = actions.add_parser("check", help="compare notebooks with the sources beside them")
    copy = actions.add_parser("copy", help="write notebooks without outputs into a folder of yours")
    for action in (listed, build, check, copy):
        if action is copy:
            action.add_argument("folder", type=Path, metavar="DIR", help="where to; made if it is not there")
        action.add_argument("lessons", nargs="*", metavar="LESSON", help="a number or a name; all if none is given")
    for action in (build, check):
        action.add_argument("--jobs", type=int, default=cores(), metavar="N", help="lessons side by side (%(default)s)")
    listed.add_argument("--exercises", action="store_true", help="each lesson's exercises too; * is graded")
    form = build.add_mutually_exclusive_group()
    form.add_argument("--student", dest="form", action="store_const", const="student", help="as students get them")
    form.add_argument(
        "--solution", dest="form", action="store_const", const="solution", help="with every exercise solved"
    )
    form.add_argument("--nbgrader", dest="form", action="store_const", const="nbgrader", help="the core, for nbgrader")
    build.add_argument("--out", type=Path, metavar="DIR", help="where to, for these three")
    check.add_argument("--run", action="store_true", help="run them too, and compare outputs where versions match")
    check.add_argument("--since", metavar="COMMIT", help="run those whose source has changed since this commit")
    copy.add_argument("--force", action="store_true", help="write over what stands there")


def main(arguments):
    """Do what was asked for -> 0, or 1 where something is not as it should be."""
    return {"list": _list, "build": _build, "check": _check, "copy": _copy}[arguments.action](arguments)


def _list(arguments):
    from minattn.classroom.exercises import EXERCISES

    for path in shelf.lessons(arguments.lessons):
        print(shelf.title(path))
        for name, exercise in EXERCISES.items() if arguments.exercises else ():
            if exercise.lesson == path.stem[:2]:
                print(f"   {'*' if exercise.core else ' '} {name:26} {exercise.kind:10} {exercise.misconception}")
    return 0


def _build(arguments):
    from minattn.classroom import build

    paths, form, out = shelf.lessons(arguments.lessons), arguments.form, arguments.out
    if (form is None) != (out is None):
        raise ValueError("--student, --solution and --nbgrader want --out DIR, and --out wants one of them")
    if out is not None:
        if out.resolve() == shelf.folder().resolve():
            raise ValueError(f"{out} holds the lessons themselves: choose another folder by --out")
    if form == "nbgrader":
        return _nbgrader(paths, out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before anything has been run
    if form is None and shelf.folder() == shelf.WITHIN:
        raise ValueError(
            "lessons are built in a clone; `lessons copy DIR` writes them to where you can run them yourself, and "
            "`lessons build --student --out DIR` those for a class"
        )
    figures = shelf.folder().parent / "figures" if form is None else None
    left = _lacking(paths)
    if left and arguments.lessons:
        raise ValueError("; ".join(f"{path.stem} {why}" for path, why in left.items()))
    for path, why in left.items():
        print(f"{path.stem:28} is left out: it {why}")
    paths = [path for path in paths if path not in left]

    def say(path, built):
        print(f"{path.stem:28} {built.seconds:5.0f} s  {'new' if built.changed else 'the same'}")

    tasks = [(path, figures, form or "student", out) for path in paths]
    return _each(build.build, tasks, arguments.jobs, "building", say)


def _nbgrader(paths, out):
    from minattn.classroom import nbgrader
    from minattn.weights import replace

    texts = nbgrader.course(paths)
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        replace(out / name, lambda partial, text=text: partial.write_text(text, encoding="utf-8", newline="\n"))
    print(f"{len(texts) - 1} notebooks: cd {out} && nbgrader generate_assignment {nbgrader.ASSIGNMENT}")
    return 0


def _check(arguments):
    from minattn.classroom import build

    paths = shelf.lessons(arguments.lessons)
    again = set(paths) if arguments.run else _changed(paths, arguments.since) if arguments.since else set()
    left, wrong = _lacking(again), []
    for path, why in left.items():
        print(f"{path.stem} is not run: it {why}")
    again = again - left.keys()

    def say(path, answer):
        if answer != "ok":
            wrong.append(path)
            print(f"{path.stem} {answer}")

    status = _each(build.check, [(path, path in again) for path in paths], arguments.jobs, "checking", say)
    if not wrong and not status:
        print(f"{len(paths)} notebooks hold what their sources say" + (f", {len(again)} run again" if again else ""))
    return 1 if wrong else status


def _copy(arguments):
    from minattn.classroom.solutions import opened

    made = {arguments.folder / f"{path.stem}.ipynb": path for path in shelf.lessons(arguments.lessons)}
    there = [str(target) for target in made if target.exists()]
    if there and not arguments.force:
        raise ValueError(f"{', '.join(there)} would be written over, with what you did there: --force, or another DIR")
    texts = {target: shelf.text(shelf.notebook(path, opened)) for target, path in made.items()}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for target, text in texts.items():
        target.write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(texts)} notebooks: jupyter lab {arguments.folder}")
    return 0


def _lacking(paths):
    """The lessons that cannot be run here, and why: {path: sentence}."""
    found = {path: shelf.missing(path) for path in sorted(paths)}
    return {path: why for path, why in found.items() if why}


def _each(work, tasks, jobs, title, say):
    """work(path, setting) for every task, side by side in processes of their own -> 1 where one has failed, else 0."""
    from tqdm import tqdm

    from minattn.classroom.build import Failed

    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1 but is {jobs}")
    if not tasks:
        return 0
    failed = 0
    pool = concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)))
    with tqdm(total=len(tasks), desc=title, unit="lesson", disable=None) as bar:
        try:
            begun = {pool.submit(work, *task): task[0] for task in tasks}
            for future in concurrent.futures.as_completed(begun):
                path = begun[future]
                try:
                    with bar.external_write_mode(file=sys.stdout):
                        say(path, future.result())
                except Failed as error:
                    failed += 1
                    with bar.external_write_mode(file=sys.stderr):
                        print(f"{path.stem} fails, and its notebook stays as it was:\n{error}", file=sys.stderr)
                bar.update()
        finally:
            # what has begun is finished or thrown away, never half written
            pool.shutdown(wait=True, cancel_futures=True)
    return min(failed, 1)


def _changed(paths, since):
    """The lessons that git says have changed since a commit, or whose data have; all of them where git says nothing."""
    command = ["git", "-C", str(shelf.folder()), "diff", "--name-only", "--relative", since, "--", "."]
    told = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if told.returncode:
        return set(paths)
    numbers = {Path(line).name.removeprefix("make_")[:2] for line in told.stdout.splitlines()}
    return {path for path in paths if path.stem[:2] in numbers}
