"""The benchmark: this library against PyTorch on the same processor, every row first proven to compute the same.

    measure     Contest, the race of its two sides, the machine and its floor
    parts       one row each: attention, recurrence, functions
    models      one row each: training steps, decoding, what a user waits for beside them
    memory      what grows with T, each size in a process of its own
    card        the same on a graphics card, with rows of its own
    contests    ROWS, the one registry
    picture     the ratios as bars
    command     python -m minattn bench

Nothing is imported here: the command says how many threads the BLAS may have before NumPy is loaded.
"""
