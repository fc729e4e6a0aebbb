"""Attention, one mechanism a file, and VARIANTS, the one registry.

A mechanism listed here earns its gradient checks, its laws, its line in the README and its place in the models.
"""

from minattn.attention import additive, bilinear, dot

VARIANTS = {
    "dot": dot,
    "additive": additive,
    "bilinear": bilinear,
}

__all__ = ["VARIANTS", "additive", "bilinear", "dot"]
