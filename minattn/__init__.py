"""minattn: attention and recurrence in NumPy, every backward pass written by hand and proven.

**The law.** A function on arrays has its backward right below it (`minattn.functions`). An op is a module of three
functions, whether it is dot-product attention, an LSTM, or a whole sequence-to-sequence model:

    init(rng, *, D, M, ...)                           -> params           nested dict of arrays, sizes by letter
    forward(params, *inputs, *, options)              -> out, cache       before the star: differentiable
    backward(dout, cache)                             -> dinputs, dparams mirrors of the inputs and of params

Nothing is stored on an op: call it twice, share its parameters, run it from several threads.

**The map.** Each room looks down, never up.

    functions masks positions tree validate op threads    floor 0: arrays
    attention recurrent                                   floor 1: mechanisms and cells
    models                                                floor 2: ops made of ops
    gradcheck gradient_norms optim training weights
    backend plots data bench classroom                    the tools
    reader demo look write classify similar               what they are for: reading aloud, writing, recognising
"""

__version__ = "0.1.0"

# The letters of every shape in this library.
LETTERS = {
    "B": "sequences in the batch",
    "H": "heads",
    "G": "key/value heads",
    "T": "query time steps",
    "S": "source time steps",
    "D": "key features",
    "E": "value features",
    "M": "model features",
    "V": "tokens in the vocabulary",
    "I": "input features",
    "P": "features of keys before their heads",
    "U": "features of values before their heads",
    "N": "recurrent features",
    "A": "features of the additive score",
    "L": "layers (in a kernel: columns)",
    "K": "rows of the kernel",
    "O": "output features",
    "Y": "rows of the image",
    "X": "columns of the image",
    "R": "steps of reach",
}
