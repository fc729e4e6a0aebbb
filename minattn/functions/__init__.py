"""Functions on arrays, each with its backward right below it.

A function returns its result and then exactly the extras that its backward lists, so that the signature of the backward
is the memory cost of the gradient. FUNCTIONS pairs them by name.
"""

from minattn.functions.activation import relu, relu_backward, sigmoid, sigmoid_backward, tanh, tanh_backward
from minattn.functions.broadcast import add, unbroadcast
from minattn.functions.dropout import dropout, dropout_backward
from minattn.functions.embedding import embedding, embedding_backward
from minattn.functions.linear import linear, linear_backward
from minattn.functions.loss import Loss, cross_entropy, cross_entropy_backward
from minattn.functions.norm import layer_norm, layer_norm_backward
from minattn.functions.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward

FUNCTIONS = {
    "softmax": (softmax, softmax_backward),
    "log_softmax": (log_softmax, log_softmax_backward),
    "linear": (linear, linear_backward),
    "tanh": (tanh, tanh_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "relu": (relu, relu_backward),
    "layer_norm": (layer_norm, layer_norm_backward),
    "embedding": (embedding, embedding_backward),
    "cross_entropy": (cross_entropy, cross_entropy_backward),
    "dropout": (dropout, dropout_backward),
}

__all__ = ["FUNCTIONS", "Loss", "add", "unbroadcast"]
__all__ += [f.__name__ for pair in FUNCTIONS.values() for f in pair]
