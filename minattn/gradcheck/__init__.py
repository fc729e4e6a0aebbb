"""Gradient checks: is this backward the derivative of that forward, and if not, what went wrong?

    report = gradcheck(forward, backward, inputs)          any code: functions, ops, objects
    report = check(op, params, inputs, options, rng)       an op, every element, by complex step
    error  = adjoint(op, params, inputs, options, rng)     all at once, at any size

A gradient check proves that backward matches forward, not that forward is right.
"""

from minattn.gradcheck.check import adjoint, check, check_case, gradcheck
from minattn.gradcheck.derivative import central_difference, complex_step
from minattn.gradcheck.registry import registry
from minattn.gradcheck.report import Likeness, Report, Row
from minattn.op import case_params

__all__ = [
    "Likeness",
    "Report",
    "Row",
    "adjoint",
    "case_params",
    "central_difference",
    "check",
    "check_case",
    "complex_step",
    "gradcheck",
    "registry",
]
