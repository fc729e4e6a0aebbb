"""ROWS: every family of rows by its key, in the order of the table. MEMORY: what has a table of its own."""

from minattn.bench import memory, models, parts

ROWS = {
    "attention": parts.attention,
    "lstm": parts.lstm_layer,
    "lstm-loop": parts.lstm_loop,
    "additive": parts.additive_loop,
    "cross-entropy": parts.cross_entropies,
    "layernorm": parts.layer_norms,
    "gelu": parts.gelus,
    "softmax": parts.softmaxes,
    "embedding": parts.embeddings,
    "adam": models.adam_step,
    "transformer": models.transformer_step,
    "seq2seq": models.seq2seq_step,
    "decoding": models.decoding,
    "sentences": models.sentences,
    "gradcheck": models.gradient_check,
    "import": models.importing,
}
MEMORY = {"memory": memory.growing, "memory-65536": memory.far}
