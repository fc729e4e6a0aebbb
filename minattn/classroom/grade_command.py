"""python -m minattn grade: a class's notebooks in, points and feedback out."""

import argparse
import signal
from pathlib import Path

HELP = """
examples:
  python -m minattn grade submissions            a folder with a file, or a folder, for each student
  python -m minattn grade ada.ipynb eve.py --out grades --seconds 5
  python -m minattn grade submissions --exercises 7 8 tempered

what is written:
  grades/grades.csv grades/grades.json           points and outcomes
  grades/feedback/STUDENT.html                   a page for each student; hidden tests are not in it
  grades/students/STUDENT.json                   what an interrupted run goes on from

outcomes:
  OK, WRONG (with what the mistake looks like), NOT IMPLEMENTED, DELEGATED (a library did the work), NUMERICAL (a
  gradient by differences), TIMEOUT, CRASHED, ENVIRONMENT (something is missing here; it is not the student's fault)

Each submission runs in a process of its own, in an empty folder, with limits of time, memory, files and output; on
Windows without those of memory and files. Its files and its network are NOT shut off: a submission can read what
you can read. To shut them off, run the grading in a container:
  docker run --rm --network none -v "$PWD:/work" -w /work IMAGE python -m minattn grade submissions
with an IMAGE in which minattn is installed.

exit status: 0 graded, whatever the grades; 2 nothing was graded, and why; 130 interrupted: the same line goes on
"""


def add_arguments(parser):
    from minattn.classroom.process import Limits
    from minattn.threads import cores

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    usual = Limits()
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION", help=".ipynb, .py, or a folder")
    parser.add_argument("--out", type=Path, default=Path("grades"), metavar="DIR", help="where to (%(default)s)")
    parser.add_argument(
        "--exercises",
        nargs="+",
        default=["core"],
        metavar="NAME",
        help="exercises by name, lessons by number, core or all (%(default)s)",
    )
    parser.add_argument("--jobs", type=int, default=cores(), metavar="N", help="side by side (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, metavar="S", help="for each exercise (%(default)g)"
    )
    parser.add_argument(
        "--memory", type=int, default=usual.memory // 2**20, metavar="MB", help="for each submission (%(default)s)"
    )


def main(arguments):
    """Grade -> 0; NoGrades where this environment cannot."""
    from tqdm import tqdm

    from minattn.classroom import feedback, grading, process, submission

    names = chosen(arguments.exercises)
    if arguments.jobs < 1 or not arguments.seconds > 0 or arguments.memory < 256:
        raise ValueError(
            "--jobs must be at least 1, --seconds more than 0, and --memory at least 256 (NumPy needs that)"
        )
    submissions = submission.find(arguments.submissions)
    if any(
        arguments.out.resolve() in (path.resolve(), *path.resolve().parents) for s in submissions for path in s.files
    ):
        raise ValueError(f"{arguments.out} holds submissions: choose another folder by --out")
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C: every process that was begun is ended
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    limits = process.Limits(arguments.seconds, arguments.memory * 2**20)
    again = 0
    with tqdm(total=len(submissions), desc="grading", unit="student", disable=None) as bar:

        def told(student, anew):
            nonlocal again
            again += not anew
            bar.set_postfix_str(f"{student.student}: {student.points:g} of {student.possible:g}", refresh=False)
            bar.update()

        students = grading.grade(submissions, names, arguments.out, limits, arguments.jobs, told)
    feedback.write(students, arguments.out)
    print(feedback.summary(students))
    kept = f", {again} of them graded before" if again else ""
    if others := submission.passed_over(arguments.submissions):
        print(f"\npassed over: {', '.join(others)}")
    print(f"\n{len(students)} students{kept}: {arguments.out / 'grades.csv'}, {arguments.out / 'feedback'}")
    return 0


def chosen(asked):
    """core, all, names of exercises and numbers of lessons -> names, in the order of the course."""
    from minattn.classroom.exercise import unknown
    from minattn.classroom.exercises import CORE, EXERCISES

    found = set()
    for one in asked:
        lesson = [name for name, exercise in EXERCISES.items() if one.isdigit() and int(exercise.lesson) == int(one)]
        if one in ("core", "all"):
            found |= set(CORE if one == "core" else EXERCISES)
        elif one in EXERCISES or lesson:
            found |= {one} if one in EXERCISES else set(lesson)
        else:
            raise ValueError(unknown(one, EXERCISES))
    return [name for name in EXERCISES if name in found]
