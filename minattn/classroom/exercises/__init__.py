"""All exercises, by name. Each lesson has a file of its own here; solutions stand in the lessons and nowhere else."""

import importlib
import pkgutil

ALL = [
    exercise
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__))
    for exercise in importlib.import_module(f"{__name__}.{module}").EXERCISES
]
EXERCISES = {exercise.name: exercise for exercise in ALL}
CORE = {name: exercise for name, exercise in EXERCISES.items() if exercise.core}
