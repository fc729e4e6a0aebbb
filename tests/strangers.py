"""Code that has never heard of this library, as people write it, and single mistakes in it.

MISTAKES: what is checked, the right backward, one line of it with the mistake, and how the mistake is called.
"""

import numpy as np

RIGHT = """
import numpy as np


def softmax(x):
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_grad(dy, x):
    y = softmax(x)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def tanh(x):
    return np.tanh(x)


def tanh_grad(dy, x):
    y = np.tanh(x)
    return dy * (1 - y ** 2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(dy, x):
    s = sigmoid(x)
    return dy * s * (1 - s)


def affine(x, w, b):
    return x.dot(w) + b, (x, w)


def affine_grad(dy, cache):
    x, w = cache
    dx = dy.dot(w.T)
    dw = x.T.dot(dy)
    db = dy.sum(axis=0)
    return dx, dw, db


def scores(q, k):
    return q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1]), (q, k)


def scores_grad(ds, cache):
    q, k = cache
    scale = 1 / np.sqrt(q.shape[-1])
    dq = ds @ k * scale
    dk = np.swapaxes(ds, 1, 2) @ q * scale
    return dq, dk


def masked(x, keep):
    return np.where(keep, x, 0) * 3


def masked_grad(dy, x, keep):
    return np.where(keep, dy, 0) * 3


def lookup(w, idx):
    return w[idx]


def lookup_grad(dy, w, idx):
    dw = np.zeros_like(w)
    np.add.at(dw, idx, dy)
    return dw


def heads(x):
    b, t, m = x.shape
    return x.reshape(b, t, 2, m // 2).transpose(0, 2, 1, 3) * 2


def heads_grad(dy, x):
    b, t, m = x.shape
    return dy.transpose(0, 2, 1, 3).reshape(b, t, m) * 2


def gates(x, w):
    z = x @ w
    i, f, o, g = np.split(z, 4, axis=-1)
    return i * 1 + f * 2 + o * 3 + g * 4, (x, w)


def gates_grad(dy, cache):
    x, w = cache
    dz = np.concatenate([dy, dy * 2, dy * 3, dy * 4], axis=-1)
    return dz @ w.T, x.T @ dz


def rnn(x, wx, wh):
    h, hs = np.zeros((x.shape[0], wh.shape[0])), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ wx + h @ wh)
        hs.append(h)
    return np.stack(hs, axis=1), (x, wx, wh, hs)


def rnn_grad(dhs, cache):
    x, wx, wh, hs = cache
    dx, dwx, dwh = np.zeros_like(x), np.zeros_like(wx), np.zeros_like(wh)
    dh = np.zeros_like(hs[0])
    for t in reversed(range(x.shape[1])):
        dz = (dhs[:, t] + dh) * (1 - hs[t] ** 2)
        dx[:, t] = dz @ wx.T
        dwx += x[:, t].T @ dz
        if t > 0:
            dwh += hs[t - 1].T @ dz
        dh = dz @ wh.T
    return dx, dwx, dwh


def attention(q, k, v):
    w = softmax(q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1]))
    return w @ v, (q, k, v, w)


def attention_grad(dy, cache):
    q, k, v, w = cache
    dv = np.swapaxes(w, 1, 2) @ dy
    dw = dy @ np.swapaxes(v, 1, 2)
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True))
    ds = ds / np.sqrt(q.shape[-1])
    return ds @ k, np.swapaxes(ds, 1, 2) @ q, dv


def self_attention(x, wq, wk, wv):
    q, k, v = x @ wq, x @ wk, x @ wv
    w = softmax(q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1]))
    return w @ v, (x, wq, wk, wv, q, k, v, w)


def self_attention_grad(dy, cache):
    x, wq, wk, wv, q, k, v, w = cache
    dv = np.swapaxes(w, 1, 2) @ dy
    dw = dy @ np.swapaxes(v, 1, 2)
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    dq, dk = ds @ k, np.swapaxes(ds, 1, 2) @ q
    dx = dq @ wq.T + dk @ wk.T + dv @ wv.T
    weights = [np.einsum("btm,btd->md", x, d) for d in (dq, dk, dv)]
    return dx, *weights


def mha(x, Wq, Wk, Wv, Wo):
    B, T, M = x.shape
    D = M // 3

    def split(y):
        return y.reshape(B, T, 3, D).transpose(0, 2, 1, 3)

    Q, K, V = split(x @ Wq), split(x @ Wk), split(x @ Wv)
    s = Q @ K.transpose(0, 1, 3, 2) / np.sqrt(D)
    s = np.where(np.tril(np.ones((T, T), dtype=bool)), s, -1e9)
    w = softmax(s)
    c = (w @ V).transpose(0, 2, 1, 3).reshape(B, T, M)
    return c @ Wo, (x, Wq, Wk, Wv, Wo, Q, K, V, w, c)


def mha_grad(dy, cache):
    x, Wq, Wk, Wv, Wo, Q, K, V, w, c = cache
    B, T, M = x.shape
    D = M // 3

    def join(y):
        return y.transpose(0, 2, 1, 3).reshape(B, T, M)

    dWo = np.einsum("btm,bto->mo", c, dy)
    dc = (dy @ Wo.T).reshape(B, T, 3, D).transpose(0, 2, 1, 3)
    dV = w.transpose(0, 1, 3, 2) @ dc
    dw = dc @ V.transpose(0, 1, 3, 2)
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True))
    ds = ds / np.sqrt(D)
    dQ, dK = join(ds @ K), join(ds.transpose(0, 1, 3, 2) @ Q)
    dV = join(dV)
    dx = dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T
    dWs = [np.einsum("btm,bto->mo", x, d) for d in (dQ, dK, dV)]
    return dx, *dWs, dWo


def lstm(x, h0, Wx, Wh, b):
    H = h0.shape[1]
    h, c, steps = h0, np.zeros_like(h0), []
    for t in range(x.shape[1]):
        i, f, o, g = np.split(x[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
        before, (h, c) = (h, c), (o * np.tanh(f * c + i * g), f * c + i * g)
        steps.append((*before, i, f, o, g, h, c))
    return np.stack([step[6] for step in steps], axis=1), (x, Wx, Wh, steps)


def lstm_grad(dhs, cache):
    x, Wx, Wh, steps = cache
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wx.shape[1])
    dh = dc = np.zeros_like(dhs[:, 0])
    for t in reversed(range(x.shape[1])):
        h, c, i, f, o, g, _, new = steps[t]
        dh = dh + dhs[:, t]
        do = dh * np.tanh(new)
        dc = dc + dh * o * (1 - np.tanh(new) ** 2)
        df, di, dg = dc * c, dc * g, dc * i
        dc = dc * f
        da = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], axis=1)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += h.T @ da
        db += da.sum(axis=0)
        dh = da @ Wh.T
    return dx, dh, dWx, dWh, db


def four(xs, Wf, Wi, Wc, Wo, bf, bi, bc, bo):
    T, B, _ = xs.shape
    h = c = np.zeros((B, bf.size))
    hs, kept = [], []
    for t in range(T):
        z = np.concatenate([h, xs[t]], axis=1)
        f, i, n, o = sigmoid(z @ Wf + bf), sigmoid(z @ Wi + bi), np.tanh(z @ Wc + bc), sigmoid(z @ Wo + bo)
        kept.append((z, c, f, i, n, o))
        c = f * c + i * n
        h = o * np.tanh(c)
        hs.append(h)
    return np.stack(hs), (kept, (Wf, Wi, Wc, Wo))


def four_grad(dhs, cache):
    kept, weights = cache
    dWs, dbs = [np.zeros_like(W) for W in weights], [np.zeros(W.shape[1]) for W in weights]
    dh = dc = np.zeros_like(dhs[0])
    dxs = []
    for t in reversed(range(len(dhs))):
        z, c, f, i, n, o = kept[t]
        tanh_c = np.tanh(f * c + i * n)
        dh = dh + dhs[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        gates = [dc * c * f * (1 - f), dc * n * i * (1 - i), dc * i * (1 - n**2), dh * tanh_c * o * (1 - o)]
        dz = sum(d @ W.T for d, W in zip(gates, weights))
        for k, d in enumerate(gates):
            dWs[k] += z.T @ d
            dbs[k] += d.sum(axis=0)
        dh, dx = dz[:, : dh.shape[1]], dz[:, dh.shape[1] :]
        dc = dc * f
        dxs.insert(0, dx)
    return np.stack(dxs), *dWs, *dbs


def conv(img, ker, bias):
    N, C, Y, X = img.shape
    F, _, k, l = ker.shape
    out = np.zeros((N, F, Y - k + 1, X - l + 1), dtype=np.result_type(img, ker, bias))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.einsum("ncyx,fcyx->nf", img[:, :, i : i + k, j : j + l], ker) + bias
    return out, (img, ker)


def conv_grad(dy, cache):
    img, ker = cache
    F, _, k, l = ker.shape
    dimg, dker = np.zeros_like(img), np.zeros_like(ker)
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            dimg[:, :, i : i + k, j : j + l] += np.einsum("nf,fcyx->ncyx", dy[:, :, i, j], ker)
            dker += np.einsum("nf,ncyx->fcyx", dy[:, :, i, j], img[:, :, i : i + k, j : j + l])
    return dimg, dker, dy.sum(axis=(0, 2, 3))


def norm(x, gamma, beta):
    mu = x.mean(axis=-1, keepdims=True)
    inv = 1 / np.sqrt(((x - mu) ** 2).mean(axis=-1, keepdims=True) + 1e-5)
    n = (x - mu) * inv
    return gamma * n + beta, (n, inv, gamma)


def norm_grad(dy, cache):
    n, inv, gamma = cache
    dgamma = (dy * n).sum(axis=(0, 1))
    dbeta = dy.sum(axis=(0, 1))
    dn = dy * gamma
    dx = inv * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
    return dx, dgamma, dbeta


def nll(logits, targets):
    p = softmax(logits)
    return -np.log(p[np.arange(len(targets)), targets]).mean(), (p, targets)


def nll_grad(dy, cache):
    p, targets = cache
    d = p.copy()
    d[np.arange(len(targets)), targets] -= 1
    return dy * d / len(targets)
"""


def inputs(name, rng):
    """Sizes all different, batch of at least two."""
    n = rng.normal
    return {
        "softmax": lambda: (n(size=(2, 3, 5)),),
        "tanh": lambda: (n(size=(3, 4)),),
        "sigmoid": lambda: (n(size=(3, 4)),),
        "affine": lambda: (n(size=(5, 3)), n(size=(3, 4)), n(size=4)),
        "scores": lambda: (n(size=(2, 3, 5)), n(size=(2, 4, 5))),
        "masked": lambda: (n(size=(4, 5)), rng.random((4, 5)) < 0.6),
        "lookup": lambda: (n(size=(6, 3)), np.array([[0, 4, 4], [2, 0, 5]])),
        "heads": lambda: (n(size=(2, 3, 8)),),
        "gates": lambda: (n(size=(5, 3)), n(size=(3, 8))),
        "rnn": lambda: (n(size=(2, 5, 3)), n(size=(3, 4)), n(size=(4, 4))),
        "attention": lambda: (n(size=(2, 3, 5)), n(size=(2, 4, 5)), n(size=(2, 4, 6))),
        "self_attention": lambda: (n(size=(2, 3, 6)), n(size=(6, 4)), n(size=(6, 4)), n(size=(6, 5))),
        "mha": lambda: (n(size=(2, 4, 6)), *n(size=(4, 6, 6))),
        "lstm": lambda: (n(size=(2, 4, 3)), n(size=(2, 5)), n(size=(3, 20)), n(size=(5, 20)), n(size=20)),
        "four": lambda: (n(size=(4, 2, 3)), *n(size=(4, 8, 5)), *n(size=(4, 5))),
        "conv": lambda: (n(size=(2, 3, 5, 6)), n(size=(4, 3, 2, 3)), n(size=4)),
        "norm": lambda: (n(size=(2, 3, 5)), n(size=5), n(size=5)),
        "nll": lambda: (n(size=(4, 6)), rng.integers(6, size=4)),
    }[name]()


MISTAKES = [
    (
        "softmax",
        "y * (dy - (dy * y).sum(axis=-1, keepdims=True))",
        "y * dy",
        "softmax backward forgets the sum over the row",
    ),
    ("softmax", "(dy - (dy * y).sum(axis=-1, keepdims=True))", "(1 - y) * dy", "diagonal of the softmax Jacobian"),
    (
        "softmax",
        "return y * (dy - (dy * y).sum(axis=-1, keepdims=True))",
        "return y * (dy - (dy * y).sum(axis=1, keepdims=True))",
        "wrong axis|another axis",
    ),
    ("softmax", "return y * (dy -", "return y / len(x) * (dy -", "softmax backward divides by the batch size"),
    ("tanh", "dy * (1 - y ** 2)", "dy * (1 - x ** 2)", "tanh's slope at x|derivative at the input|point"),
    ("tanh", "dy * (1 - y ** 2)", "dy", "a slope that was forgotten"),
    ("tanh", "dy * (1 - y ** 2)", "1 - y ** 2", "an upstream gradient that was ignored"),
    ("sigmoid", "dy * s * (1 - s)", "dy * x * (1 - x)", "sigmoid's slope at x|derivative at the input|point"),
    ("affine", "db = dy.sum(axis=0)", "db = dy", "a sum that was forgotten"),
    ("affine", "db = dy.sum(axis=0)", "db = dy.mean(axis=0)", "a factor of 1/5"),
    ("affine", "dw = x.T.dot(dy)", "dw = dy.T.dot(x)", "a transpose"),
    ("affine", "dw = x.T.dot(dy)", "dw = -x.T.dot(dy)", "a factor of -1"),
    ("affine", "dw = x.T.dot(dy)", "dw = 2 * x.T.dot(dy)", "a factor of 2"),
    ("affine", "dw = x.T.dot(dy)", "dw = np.zeros_like(w)", "a way that was forgotten"),
    ("affine", "dw = x.T.dot(dy)", "dw = x.T.dot(dy).astype(np.float32)", "float32 somewhere on the way"),
    ("affine", "dw = x.T.dot(dy)", "dw = np.outer(x[-1], dy[-1])", "an assignment in the place of a sum"),
    ("scores", "dq = ds @ k * scale", "dq = ds @ k", r"a factor of sqrt\(5\)"),
    ("scores", "dq = ds @ k * scale", "dq = ds @ k * scale ** 2", r"a factor of 1/sqrt\(5\)"),
    ("masked", "np.where(keep, dy, 0) * 3", "dy * 3", "a mask that backward forgot"),
    ("lookup", "np.add.at(dw, idx, dy)", "dw[idx] = dy", "an assignment in the place of a sum|assigned, not added"),
    ("heads", "dy.transpose(0, 2, 1, 3).reshape(b, t, m)", "dy.reshape(b, t, m)", "heads reshaped without a transpose"),
    ("gates", "[dy, dy * 2, dy * 3, dy * 4]", "[dy, dy * 2, dy * 4, dy * 3]", "blocks in another order"),
    ("rnn", "dh = dz @ wh.T", "pass", "cut off|truncated"),
    ("rnn", "(1 - hs[t] ** 2)", "(1 - hs[t])", "rnn: the slope of tanh is 1 - hidden"),
    ("rnn", "dwx += x[:, t].T @ dz", "dwx = x[:, t].T @ dz", "assign|only the first step|last step"),
    ("attention", "    ds = ds / np.sqrt(q.shape[-1])\n", "", "the scale is missing in backward"),
    (
        "attention",
        "ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True))",
        "ds = w * dw",
        "forgets the sum over the row",
    ),
    (
        "attention",
        "ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True))",
        "ds = w * (1 - w) * dw",
        "diagonal of the softmax",
    ),
    (
        "attention",
        "return ds @ k, np.swapaxes(ds, 1, 2) @ q, dv",
        "return ds @ k, -np.swapaxes(ds, 1, 2) @ q, dv",
        "a factor of -1",
    ),
    ("self_attention", "dx = dq @ wq.T + dk @ wk.T + dv @ wv.T", "dx = dv @ wv.T", "a way that was forgotten"),
    (
        "self_attention",
        "dx = dq @ wq.T + dk @ wk.T + dv @ wv.T",
        "dx = dq @ wq.T + dv @ wv.T",
        "a way that was forgotten",
    ),
    ("mha", "    ds = ds / np.sqrt(D)\n", "", "the scale is missing in backward"),
    ("mha", "ds = ds / np.sqrt(D)", "ds = ds / np.sqrt(M)", "the scale is the root of the model width in backward"),
    ("mha", "dw - (dw * w).sum(axis=-1, keepdims=True)", "dw", "forgets the sum over the row"),
    (
        "mha",
        ".reshape(B, T, 3, D).transpose(0, 2, 1, 3)",
        ".reshape(B, 3, T, D)",
        "dcontext is cut into heads without",
    ),
    (
        "mha",
        "y.transpose(0, 2, 1, 3).reshape(B, T, M)",
        "y.reshape(B, T, M)",
        "dheads are reshaped without",
    ),
    ("mha", "dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T", "dQ @ Wq.T + dV @ Wv.T", "a way that was forgotten"),
    ("mha", "ds.transpose(0, 1, 3, 2) @ Q", "ds @ Q", "dscores is not transposed"),
    ("lstm", "dc = dc + dh * o", "dc = dh * o", "lstm: the cell path is cut"),
    ("lstm", "do * o * (1 - o), dg * (1 - g**2)]", "dg * (1 - g**2), do * o * (1 - o)]", "candidate in another order"),
    (
        "lstm",
        "df, di, dg = dc * c, dc * g, dc * i",
        "df, di, dg = dc * c, dc * i, dc * g",
        "candidate trade their gra",
    ),
    ("lstm", "dWh += h.T @ da", "dWh = h.T @ da", "an assignment in the place of a sum|assigned at each step"),
    ("lstm", "dWx += x[:, t].T @ da", "dWx = x[:, t].T @ da", "assigned at each step"),
    ("lstm", "dh = dh + dhs[:, t]", "dh = dhs[:, t]", "an output's gradient takes the place of the next"),
    ("four", "(1 - tanh_c**2)", "(1 - (f * c + i * n) ** 2)", "lstm: the slope of tanh is taken at the cell"),
    ("four", "dc * c * f * (1 - f)", "dc * c", "lstm: the slope of the forget gate is forgotten"),
    ("four", "dc * i * (1 - n**2)", "dc * i * n * (1 - n)", "lstm: the candidate has the slope of a sigmoid"),
    ("four", "        dc = dc * f\n", "", "lstm: the cell's gradient passes the forget gate unchanged"),
    (
        "conv",
        "dimg[:, :, i : i + k, j : j + l] +=",
        "dimg[:, :, i : i + k, j : j + l] =",
        "conv: dx is assigned windo",
    ),
    ("conv", "dker +=", "dker =", "an assignment in the place of a sum"),
    (
        "conv",
        "dy[:, :, i, j], ker)",
        "dy[:, :, i, j], ker[:, :, ::-1, ::-1])",
        "conv: the kernel is flipped",
    ),
    ("norm", "dn = dy * gamma", "dn = dy", "gain"),
    ("norm", "inv * (dn - dn.mean(axis=-1, keepdims=True) -", "inv * (dn -", "mean"),
    ("norm", "dgamma = (dy * n)", "dgamma = (dy)", "gain|another order"),
    ("nll", "dy * d / len(targets)", "dy * d", "count|batch|a factor of 4"),
    ("nll", "    d[np.arange(len(targets)), targets] -= 1\n", "", "target"),
]


def build(source):
    """The functions of a source, by name."""
    space = {}
    exec(compile(source, "<strangers>", "exec"), space)
    return space
