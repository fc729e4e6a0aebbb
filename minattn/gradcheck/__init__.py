"""Gradient checks: is this backward the derivative of that forward?

    report = check(op, params, inputs, options, rng)       every element, by complex step
    error  = adjoint(op, params, inputs, options, rng)     all at once, at any size

A gradient check proves that backward matches forward, not that forward is right.
"""

from minattn.gradcheck.check import Report, Row, adjoint, check, check_case
from minattn.gradcheck.derivative import central_difference, complex_step
from minattn.gradcheck.registry import registry

__all__ = [
    "Report",
    "Row",
    "adjoint",
    "central_difference",
    "check",
    "check_case",
    "complex_step",
    "registry",
]
