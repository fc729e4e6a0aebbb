"""Recurrence: step, then sequence, with full back-propagation through time. CELLS is the registry."""

from minattn.recurrent import bidirectional, gru, layers, lstm, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru, "bidirectional": bidirectional, "layers": layers}

__all__ = ["CELLS", "bidirectional", "gru", "layers", "lstm", "rnn"]
