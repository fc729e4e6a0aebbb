"""Models: ops made of ops, under the same law. MODELS is the registry."""

from minattn.models import seq2seq

MODELS = {"seq2seq": seq2seq}

__all__ = ["MODELS", "seq2seq"]
