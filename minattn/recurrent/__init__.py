"""Recurrence: step, then sequence, with full back-propagation through time. CELLS is the registry."""

from minattn.recurrent import bidirectional, lstm, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "bidirectional": bidirectional}

__all__ = ["CELLS", "bidirectional", "lstm", "rnn"]
