"""Parameters in files: data, never code.

    save("model.npz", params, {"N": 64})                 a tree of arrays and its settings; .safetensors as well
    params, settings = load("model.npz")
    arrays = load_arrays("model.safetensors")            {name: array}, as others write them
    save_arrays("arrays.npz", arrays)

The suffix chooses: .safetensors, and .npz for everything else. What is malformed gives one sentence and no array.
"""

from minattn.weights.files import load, load_arrays, replace, save, save_arrays

__all__ = ["load", "load_arrays", "replace", "save", "save_arrays"]
