"""One mask in three dialects: minattn, PyTorch's function, PyTorch's module. Needs torch; python 08_masks_torch.py"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from minattn.attention import dot, multihead
from minattn.masks import causal, padding

rng = np.random.default_rng(0)
B, T, M, H, D = 2, 4, 6, 2, 3
x, lengths = rng.normal(size=(B, T, M)), np.array([4, 2])
there = np.arange(T) < lengths[:, None]  # (B, T)  True = a token, False = padding
past = np.tri(T, dtype=bool)  # (T, T)  True = not in the future
t = torch.from_numpy(x)

# 1. The function: True = MAY look, as here. A boolean mask is handed over as it is.
ours, _ = dot.forward({}, x, x, x, mask=causal() & padding(lengths))
may = torch.from_numpy(past & there[:, None, :])  # (B, T, T)
theirs = scaled_dot_product_attention(t, t, t, attn_mask=may)
assert np.allclose(ours, theirs.numpy(), rtol=0, atol=1e-12)

# 2. The module: True = may NOT look. Both of its masks are the opposite of ours: ~ before they go in.
module = nn.MultiheadAttention(M, H, batch_first=True, dtype=torch.float64)
W, b = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
params = {"W_out": module.out_proj.weight.detach().numpy().T.reshape(H, D, M)}
params["b_out"] = module.out_proj.bias.detach().numpy()
for name, rows, part in zip(("query", "key", "value"), np.split(W, 3), np.split(b, 3), strict=True):
    params |= {f"W_{name}": rows.T.reshape(M, H, D), f"b_{name}": part.reshape(H, D)}
ours, _ = multihead.forward(params, x, x, x, mask=causal() & padding(lengths))
masks = {"attn_mask": torch.from_numpy(~past), "key_padding_mask": torch.from_numpy(~there)}
theirs, _ = module(t, t, t, **masks)
assert np.allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-12)

# 3. Without the ~ nobody complains: the shapes fit, and every step sees the future alone. The last one sees nothing;
#    its row is NaN in PyTorch 2.13, where minattn and scaled_dot_product_attention give 0.
wrong, _ = module(t, t, t, attn_mask=torch.from_numpy(past))
assert not np.allclose(ours, wrong.detach().numpy())

# 4. Queries that are fewer than the keys: is_causal lets query 0 see key 0 alone. Here the place has to be said.
last = x[:, -1:]
ours, _ = dot.forward({}, last, x, x, mask=causal(offset=0))
theirs = scaled_dot_product_attention(torch.from_numpy(last), t, t, is_causal=True)
assert np.allclose(ours, theirs.numpy(), rtol=0, atol=1e-12)

print("minattn and PyTorch agree to 1e-12")
