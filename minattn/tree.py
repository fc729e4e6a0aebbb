"""Nested dicts (and tuples or lists) of arrays: parameters, their gradients, recurrent states.

None is an empty leaf everywhere: it stays None, and `add` takes it for zero.
"""


def leaves(tree, path=""):
    """Every array with its path: {"encoder": {"W": w}} -> [("encoder.W", w)]. None is skipped."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        children = tree.items()
    elif isinstance(tree, (tuple, list)):
        children = zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True)
    else:
        return [(path, tree)]
    return [leaf for name, child in children for leaf in leaves(child, f"{path}.{name}" if path else f"{name}")]


def map(function, tree, *others):
    """A tree of the same form with function(leaf, ...) at every leaf; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        _same_names(tree, *others)
        return {name: map(function, child, *[o[name] for o in others]) for name, child in tree.items()}
    if isinstance(tree, (tuple, list)):
        children = [map(function, *child) for child in zip(tree, *others, strict=True)]
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return function(tree, *others)


def add(left, right):
    """The sum of two trees of one form, None standing for zero: joins the gradients of tied weights."""
    if left is None or right is None:
        return right if left is None else left
    if isinstance(left, dict):
        _same_names(left, right)
        return {name: add(child, right[name]) for name, child in left.items()}
    if isinstance(left, (tuple, list)):
        children = [add(*pair) for pair in zip(left, right, strict=True)]
        return type(left)(*children) if hasattr(left, "_fields") else type(left)(children)
    return left + right


def join(left, right):
    """The union of two trees, added where both have a leaf: gradients of parameters that are used in two places."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left | {name: join(left.get(name), child) for name, child in right.items()}
    return add(left, right)


def astype(tree, dtype):
    """The tree with every array in dtype: `tree.astype(params, np.float32)`."""
    return map(lambda leaf: leaf.astype(dtype), tree)


def _same_names(tree, *others):
    for other in others:
        if other is None or other.keys() != tree.keys():
            have = "None" if other is None else sorted(other)
            raise ValueError(f"the trees differ: one has {sorted(tree)}, the other {have}")
