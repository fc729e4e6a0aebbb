"""The classroom: what lessons say `import` for, and what builds them.

    agree(mine, theirs)            the same numbers, or an error that says where and by how much they differ
    keep(ax, "06_film_strip")      a figure as a file beside the lesson's own picture of it
    source(dot.forward)            the library's own code, as a cell's output
    data("04_adding.json")         what took longer than a lesson, from the file that a script beside it has made
    check.tempered(tempered)       an exercise that answers: what holds, what does not, and what the mistake looks like

`python -m minattn lessons` builds the notebooks, checks them, or copies them to where somebody wants to learn;
`python -m minattn grade` grades a class.
"""

from minattn.classroom import check
from minattn.classroom.desk import agree, data, keep, source

__all__ = ["agree", "check", "data", "keep", "source"]
