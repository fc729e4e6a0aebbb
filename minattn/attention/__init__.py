"""Attention, one mechanism a file, and VARIANTS, the one registry.

A mechanism listed here earns its gradient checks, its laws, its line in the README and its place in the models.
"""

from minattn.attention import (
    additive,
    bilinear,
    blockwise,
    concat,
    cosine,
    dot,
    fused,
    linear,
    local,
    multihead,
    relative,
    sparse,
    window,
)

VARIANTS = {
    "dot": dot,
    "additive": additive,
    "bilinear": bilinear,
    "concat": concat,
    "cosine": cosine,
    "local": local,
    "relative": relative,
    "sparse": sparse,
    "window": window,
    "blockwise": blockwise,
    "fused": fused,
    "linear": linear,
    "multihead": multihead,
}

__all__ = ["VARIANTS", *VARIANTS]
