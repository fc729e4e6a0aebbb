"""Models: ops made of ops, under the same law. MODELS is the registry."""

from minattn.models import block, language_model, seq2seq, transformer

MODELS = {"seq2seq": seq2seq, "block": block, "language_model": language_model, "transformer": transformer}

__all__ = ["MODELS", *MODELS]
