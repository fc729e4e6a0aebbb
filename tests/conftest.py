"""Before NumPy is loaded: one BLAS thread, so that a busy machine does not slow the suite down, and no display."""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[name] = "1"
os.environ["MPLBACKEND"] = "Agg"

pytest_plugins = ["pytester"]  # for the plugin's own tests
