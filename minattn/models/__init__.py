"""Models: ops made of ops, under the same law. MODELS is the registry."""

from minattn.models import block, language_model, luong, recurrent_model, seq2seq, transformer

MODELS = {
    "seq2seq": seq2seq,
    "luong": luong,
    "block": block,
    "transformer": transformer,
    "language_model": language_model,
    "recurrent_model": recurrent_model,
}

__all__ = ["MODELS", *MODELS]
