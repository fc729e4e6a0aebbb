"""Parameter trees in files: data, never code."""

from minattn.weights.npz import load, replace, save

__all__ = ["load", "replace", "save"]
