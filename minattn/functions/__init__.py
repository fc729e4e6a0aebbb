"""Functions on arrays, each with its backward right below it.

A function returns its result and then exactly the extras that its backward lists, so that the signature of the backward
is the memory cost of the gradient. FUNCTIONS pairs them by name.
"""

from minattn.functions.activation import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from minattn.functions.broadcast import add, add_into, join_heads, part, row_dot, row_sum, split_heads, unbroadcast
from minattn.functions.convolution import (
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    max_pool,
    max_pool_backward,
    mean_pool,
    mean_pool_backward,
)
from minattn.functions.dropout import dropout, dropout_backward
from minattn.functions.embedding import embedding, embedding_backward
from minattn.functions.gaussian import erf, erf_backward, erfc, erfc_backward
from minattn.functions.linear import linear, linear_backward, product
from minattn.functions.loss import Loss, cross_entropy, cross_entropy_backward, mse, mse_backward
from minattn.functions.norm import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from minattn.functions.softmax import (
    log_softmax,
    log_softmax_backward,
    logsumexp,
    logsumexp_backward,
    softmax,
    softmax_backward,
)
from minattn.functions.sparsemax import sparsemax, sparsemax_backward

FUNCTIONS = {
    forward.__name__: (forward, backward)
    for forward, backward in (
        (softmax, softmax_backward),
        (log_softmax, log_softmax_backward),
        (logsumexp, logsumexp_backward),
        (sparsemax, sparsemax_backward),
        (linear, linear_backward),
        (tanh, tanh_backward),
        (sigmoid, sigmoid_backward),
        (relu, relu_backward),
        (gelu, gelu_backward),
        (gelu_tanh, gelu_tanh_backward),
        (silu, silu_backward),
        (elu, elu_backward),
        (softplus, softplus_backward),
        (erf, erf_backward),
        (erfc, erfc_backward),
        (layer_norm, layer_norm_backward),
        (rms_norm, rms_norm_backward),
        (embedding, embedding_backward),
        (conv1d, conv1d_backward),
        (conv2d, conv2d_backward),
        (max_pool, max_pool_backward),
        (mean_pool, mean_pool_backward),
        (cross_entropy, cross_entropy_backward),
        (mse, mse_backward),
        (dropout, dropout_backward),
    )
}

__all__ = ["FUNCTIONS", "Loss", "add", "add_into", "join_heads", "part", "product", "row_dot", "row_sum", "split_heads"]
__all__ += ["unbroadcast"]
__all__ += [f.__name__ for pair in FUNCTIONS.values() for f in pair]
