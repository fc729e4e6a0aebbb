"""Models: ops made of ops, under the same law. MODELS is the registry."""

from minattn.models import (
    block,
    language_model,
    luong,
    minilm,
    pooling,
    recurrent_model,
    seq2seq,
    speech,
    transformer,
    vision,
)

MODELS = {
    "seq2seq": seq2seq,
    "luong": luong,
    "block": block,
    "transformer": transformer,
    "language_model": language_model,
    "minilm": minilm,
    "recurrent_model": recurrent_model,
    "pooling": pooling,
    "vision": vision,
    "speech": speech,
}

__all__ = ["MODELS", *MODELS]
