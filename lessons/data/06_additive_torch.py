"""Additive attention in PyTorch, and the proof that it is minattn's. Needs torch; python 06_additive_torch.py"""

import numpy as np
import torch
from torch import nn

from minattn.attention import additive
from minattn.masks import padding


class AdditiveAttention(nn.Module):
    def __init__(self, N, D, A):
        super().__init__()
        self.W_query = nn.Linear(N, A)  # with b
        self.W_key = nn.Linear(D, A, bias=False)
        self.v = nn.Linear(A, 1, bias=False)  # A numbers become one score

    def forward(self, query, key, value, mask=None):
        """query (B, N), key (B, S, D), value (B, S, E), mask (B, S) True = may look -> context (B, E), weights."""
        hidden = torch.tanh(self.W_query(query)[:, None] + self.W_key(key))  # (B, S, A)
        scores = self.v(hidden).squeeze(-1)  # (B, S)  one number for each step
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=1)  # (B, S)  over time
        context = (weights[:, :, None] * value).sum(dim=1)  # (B, E)  no time axis is left
        return context, weights


def main():
    rng = np.random.default_rng(0)
    B, S, N, D, E, A = 3, 5, 4, 6, 7, 8
    query, key, value = (rng.normal(size=shape) for shape in ((B, N), (B, S, D), (B, S, E)))
    lengths, dcontext = np.array([5, 3, 1]), rng.normal(size=(B, E))
    params = additive.init(rng, N=N, D=D, A=A)
    params["b"] = rng.normal(size=A)

    # minattn: T = 1 query for each sequence
    context, cache = additive.forward(params, query[:, None], key, value, mask=padding(lengths))
    (dquery, dkey, dvalue, _), dparams = additive.backward(dcontext[:, None], cache)

    # PyTorch with the same numbers: nn.Linear keeps its weights the other way round
    module = AdditiveAttention(N, D, A).double()
    theirs = {"W_query": module.W_query.weight, "W_key": module.W_key.weight, "v": module.v.weight}
    with torch.no_grad():
        for name, weight in theirs.items():
            weight.copy_(torch.from_numpy(params[name].reshape(params[name].shape[0], -1).T))
        module.W_query.bias.copy_(torch.from_numpy(params["b"]))
    tensors = [torch.from_numpy(x).requires_grad_() for x in (query, key, value)]
    mask = torch.arange(S) < torch.from_numpy(lengths)[:, None]  # (B, S)
    out, weights = module(*tensors, mask)
    out.backward(torch.from_numpy(dcontext))

    pairs = {
        "context": (context[:, 0], out),
        "weights": (cache.weights[:, 0], weights),
        "dquery": (dquery[:, 0], tensors[0].grad),
        "dkey": (dkey, tensors[1].grad),
        "dvalue": (dvalue, tensors[2].grad),
        "db": (dparams["b"], module.W_query.bias.grad),
    }
    for name, weight in theirs.items():
        pairs["d" + name] = (dparams[name].reshape(params[name].shape[0], -1), weight.grad.T)
    for name, (mine, other) in pairs.items():
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=0, atol=1e-9, err_msg=name)
        print(f"{name:8} equal to 1e-9")


if __name__ == "__main__":
    main()
