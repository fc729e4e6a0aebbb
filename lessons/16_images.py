# %% [markdown]
# # 16 · Images
#
# **You will be able to** let one query look at the places of an image and draw where it looked; cut an image into
# patches and hand them to a Transformer as tokens; and say how well that reads digits, beside two methods without
# attention.
#
# *Needs lessons 07, 08 and 11. Forty minutes.*

# %%
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from minattn import classify, optim, training, tree
from minattn.attention import dot
from minattn.classroom import agree, check, data, keep, source
from minattn.data import digits
from minattn.functions import (
    Loss,
    conv1d,
    conv2d,
    conv2d_backward,
    cross_entropy,
    cross_entropy_backward,
    layer_norm,
    linear,
    linear_backward,
    relu,
    softmax,
)
from minattn.models import pooling, vision
from minattn.op import bind
from minattn.plots.canvas import COLOURS

np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## See
#
# Here are 1,797 digits written by hand, 8 × 8 pixels each, a number between 0 (paper) and 1 (ink) for every pixel.
# 1,287 of them are for learning, and 510, most of them by other hands, are kept out for the test.
#
# An image is no sequence, but attention does not mind: it needs keys and values, one for each *place*. What should
# stand at a place? A single pixel says little, so each place is first told what is around it. A **convolution** does
# that. It takes a small table of numbers, the **kernel**, lays it over every place in turn, multiplies and adds up.
# Four kernels of 3 × 3, written by hand, and what they find:

# %%
train, test = digits.split()
image = test.images[4]  # (Y, X) = (8, 8)
kernels = {
    "blur": np.ones((3, 3)) / 9,
    "ink on the right,\npaper on the left": np.array([[-1, 0, 1]] * 3) / 3,
    "ink below,\npaper above": np.array([[-1, 0, 1]] * 3).T / 3,
    "a stroke\nthat climbs": np.array([[-1, -1, 2], [-1, 2, -1], [2, -1, -1]]) / 6,
}
found = conv2d(
    image[None, :, :, None], np.stack(list(kernels.values()), axis=-1)[:, :, None], padding=1
)  # (1, 8, 8, 4)

figure, axes = plt.subplots(1, 5, figsize=(11, 2.9), layout="constrained")
axes[0].imshow(image, cmap="gray_r")
axes[0].set_title("the image\n", fontsize=10)
for ax, name, feature in zip(axes[1:], kernels, found[0].transpose(2, 0, 1), strict=True):
    shown = ax.imshow(feature, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_title(name if "\n" in name else f"{name}\n", fontsize=10)
for ax in axes:
    ax.set(xticks=[], yticks=[])
figure.colorbar(shown, ax=axes, label="feature", fraction=0.02, pad=0.01)
figure.suptitle(f"A {test.labels[4]} and four things that kernels of 3 × 3 see in it")
keep(figure, "16_kernels")

# %% [markdown]
# The numbers that kernels find at a place are its **features**. A network learns its kernels: ours has two
# convolutions with 24 kernels each, one on top of the other, so that every place knows the 5 × 5 pixels around it.
# Then comes attention at its smallest, **attention pooling**: *one* query, a vector that is learned like any other
# parameter, looks at all 64 places and takes the average of what stands there, by weight. From that average the digit
# is read. Nobody says where to look. The training takes a few seconds.

# %%
task = classify.TASKS["digits"](0)
model = bind(vision, kernels=(3, 3), strides=(1, 1), L=0)  # two convolutions, no layers between them and the query
rng, updates = np.random.default_rng(0), 400
flat = optim.Flat(tree.astype(model.init(rng, V=10, Y=8, X=8, M=24), np.float32))
for update, batch in zip(range(updates), task.batches(rng), strict=False):
    loss, gradients = training.gradients(model, flat.params, (batch.inputs,), batch.labels)
    pace = optim.schedule(update, updates, peak=1e-2, warm_up=40)
    flat.step(gradients, learning_rate=pace, max_norm=1.0)
    if update % 100 == 0 or update == updates - 1:
        print(f"update {update:3}   loss {loss:.1f}")

images = test.images[..., None].astype(np.float32)  # (B, Y, X, I)
logits, cache = model.forward(flat.params, images)
answers, looked = logits.argmax(axis=-1), cache.weights  # (B,), (B, Y, X)
print(f"wrong: {(answers != test.labels).sum()} of {len(answers)}")

# %% [markdown]
# The second model is a **Vision Transformer**. It cuts the image into 16 **patches** of 2 × 2 pixels; each patch
# becomes a token, as a word would. Two Transformer layers (lesson 11) let the patches look at each other, and one
# query looks at what has become of them. Its training takes about a minute, so its parameters are in a file, made by
# `lessons/data/make_16_digits.py`.

# %%
saved, settings = data("16_vit.npz")
transformer = tree.astype(saved, np.float32)
print(f"{settings['updates']} updates; sizes {settings['sizes']}")
logits, seen = vision.forward(transformer, images)
vit_answers, vit_looked = logits.argmax(axis=-1), seen.weights  # (B,), (B, 4, 4)
print(f"wrong: {(vit_answers != test.labels).sum()} of {len(vit_answers)}")

# %% [markdown]
# Where did the two look? Ink is grey, attention is laid over it in orange, the fuller the more weight.


# %%
def lay(ax, image, weights, most):
    """An image in grey, and over it orange, as full as the weight is large."""
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1.4, extent=(0, 8, 8, 0))
    colour = np.empty((*weights.shape, 4))
    colour[..., :3], colour[..., 3] = to_rgb(COLOURS[1]), (weights / most).clip(0, 1) ** 0.7 * 0.9
    ax.imshow(colour, extent=(0, 8, 8, 0), interpolation="nearest")
    ax.set(xticks=[], yticks=[])


chosen = [int(np.flatnonzero(test.labels == digit)[1]) for digit in range(10)]
figure, axes = plt.subplots(2, 10, figsize=(13, 3.5), layout="constrained")
rows = (("convolutions\nand a query", answers, looked, 0.3), ("Vision\nTransformer", vit_answers, vit_looked, 0.3))
for row, (name, read, weights, most) in zip(axes, rows, strict=True):
    for ax, i in zip(row, chosen, strict=True):
        lay(ax, test.images[i], weights[i], most)
        ax.set_title(f"read as {read[i]}", fontsize=9)
    row[0].set_ylabel(name, fontsize=10)
figure.suptitle("Where one query looks in a digit (grey: ink; orange: attention, full at a weight of 0.3 or more)")
keep(figure, "16_where_it_looks")

# %% [markdown]
# The query over convolutions picks a few places, some in the ink and some in the white beside it. The query of the
# Vision Transformer looks more evenly: its patches have already told each other what they hold. In both, different
# digits are looked at in different places, although the query is always the same vector. What differs are the keys
# that answer it.

# %% [markdown]
# ## Compute
#
# An image of one row, small enough for paper: five pixels, `0 1 1 0 0`. Two kernels, each three pixels wide, without
# anything beyond the border: so they fit at three places. *Edge* is (-1, 0, 1), right minus left; *ink* is (1, 1, 1).
#
# | place | pixels | edge | ink |
# |---|---|---|---|
# | 1 | 0 1 1 | 1 | 2 |
# | 2 | 1 1 0 | -1 | 2 |
# | 3 | 1 0 0 | -1 | 1 |
#
# Three places with two features each. Now the query: let it be √2 · (1, 0), which asks for edges whose ink is on the
# right. The score is the dot product over √2, since a place has two features: what remains is the edge.
#
# | place | features | score | e to that | weight |
# |---|---|---|---|---|
# | 1 | (1, 2) | 1 | 2.718 | 0.787 |
# | 2 | (-1, 2) | -1 | 0.368 | 0.107 |
# | 3 | (-1, 1) | -1 | 0.368 | 0.107 |
#
# The context is 0.787 · (1, 2) + 0.107 · (-1, 2) + 0.107 · (-1, 1) = (0.574, 1.893): mostly place 1. In NumPy:

# %%
pixels = np.array([0.0, 1.0, 1.0, 0.0, 0.0])  # (T,)
edge, ink = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0])
x = conv1d(pixels[None, :, None], np.stack([edge, ink], axis=-1)[:, None])  # (B, S, M) = (1, 3, 2)
query = np.sqrt(2) * np.array([[1.0, 0.0]])  # (1, M)
weights = softmax(x @ query[0] / np.sqrt(2))  # (B, S)
print("features", x[0].tolist())
print("weights", weights[0])
print("context", (weights[:, None] @ x)[0, 0])
agree(pooling.forward({"query": query, "attention": {}}, x)[0], (weights[:, None] @ x)[:, 0])

# %% [markdown]
# *You can go on to lesson 17 from here. What follows writes the formulas, forward and backward, and asks how good all
# this is.*

# %% [markdown]
# ## Derive
#
# **Convolution.** The kernel W has K rows and L columns of matrices, each I × O. It can be read as a sum of shifted
# images, each multiplied by one matrix:
#
# $$\text{out}_{y,x} = b + \sum_{k,l} \text{image}_{y+k,\,x+l} \; W_{k,l}$$
#
# Backward is a mirror of every term. One kernel serves all places, so its gradient is a sum over all of them; a pixel
# was used by several places, so its gradient is a sum too:
#
# $$\text{d}W_{k,l} = \sum_{y,x} \text{image}_{y+k,\,x+l}^\top \; \text{dout}_{y,x} \qquad\qquad
#   \text{dimage}_{y+k,\,x+l} \mathrel{+}= \text{dout}_{y,x} \; W_{k,l}^\top$$
#
# **Patches.** Let the kernel jump by its own width (its **stride**), and no pixel is used twice: every patch of 2 × 2
# goes through one matrix. That is the first layer of a Vision Transformer.
#
# **Pooling.** S places with M features each, one query:
#
# $$w = \text{softmax}\left(\frac{x \, q}{\sqrt M}\right) \qquad\qquad \text{context} = \sum_s w_s \, x_s$$
#
# A place is key and value at once, so its gradient has two parts. As value it gets its share of dcontext; as key,
# whatever moves its score:
#
# $$\text{dscore}_s = w_s \left(x_s - \text{context}\right) \cdot \text{dcontext} \qquad
#   \text{d}x_s = w_s \, \text{dcontext} + \frac{\text{dscore}_s}{\sqrt M} \, q \qquad
#   \text{d}q = \sum_s \frac{\text{dscore}_s}{\sqrt M} \, x_s$$
#
# Read the first formula: the score of a place rises when what stands there is better than the average of all places.
# That is how a query learns where to look without being told.

# %% [markdown]
# ## Equal to the library
#
# A convolution as a sum of shifted images, and its backward:

# %%
rng = np.random.default_rng(1)
x, W, b = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4)
shifts = [(k, l, x[:, k : k + 4, l : l + 3]) for k in range(3) for l in range(3)]  # each (B, Y', X', I)
out = conv2d(x, W, b)  # (B, Y', X', O)
agree(sum(part @ W[k, l] for k, l, part in shifts) + b, out)

dout = rng.normal(size=out.shape)
dx, dW = np.zeros_like(x), np.zeros_like(W)
for k, l, part in shifts:
    dW[k, l] = np.einsum("byxi,byxo->io", part, dout)
    dx[:, k : k + 4, l : l + 3] += dout @ W[k, l].T
agree((dx, dW, dout.sum(axis=(0, 1, 2))), conv2d_backward(dout, x, W, b))

# %% [markdown]
# One patch of 2 × 2, in the second row of patches and the third column, cut out by hand and sent through the matrix that
# serves all of them (to cut out all at once is an exercise):

# %%
x, W = rng.normal(size=(2, 8, 8, 1)), rng.normal(size=(2, 2, 1, 32))
patch = x[:, 2:4, 4:6]  # (B, 2, 2, 1)
agree(patch.reshape(2, 4) @ W.reshape(4, 32), conv2d(x, W, stride=2)[:, 1, 2])

# %% [markdown]
# Pooling, forward and backward:

# %%
x, query, dcontext = rng.normal(size=(2, 5, 4)), rng.normal(size=(1, 4)), rng.normal(size=(2, 4))
context, kept = pooling.forward({"query": query, "attention": {}}, x)
(dx,), dparams = pooling.backward(dcontext, kept)

weights = softmax(x @ query[0] / np.sqrt(4))[..., None]  # (B, S, 1)
agree((weights * x).sum(axis=1), context)
dscores = weights * ((x - context[:, None]) * dcontext[:, None]).sum(axis=-1, keepdims=True)  # (B, S, 1)
agree(weights * dcontext[:, None] + dscores / np.sqrt(4) * query, dx)
agree((dscores / np.sqrt(4) * x).sum(axis=(0, 1))[None], dparams["query"])

# %% [markdown]
# And the model that was trained above, in float64, from its parts. Before the query looks, the features of each place
# are given mean 0 and variance 1 (lesson 11):

# %%
params = tree.astype(flat.params, np.float64)
x = test.images[:3, ..., None]  # (B, Y, X, 1)
first, second = params["convolutions"]["0"], params["convolutions"]["1"]
x = conv2d(x, first["W"], first["b"], padding=1)  # (B, Y, X, M)
x = conv2d(relu(x), second["W"], second["b"], padding=1)  # (B, Y, X, M)
x, *_ = layer_norm(x.reshape(3, 64, 24), params["norm"]["gain"], params["norm"]["bias"])  # (B, S, M)
context, _ = dot.forward({}, params["pooling"]["query"], x, x)  # (B, 1, M)
logits = linear(context[:, 0], params["W_out"], params["b_out"])  # (B, V)
agree(logits, model.forward(params, test.images[:3, ..., None])[0])

# %%
source(pooling.forward, pooling.backward)

# %% [markdown]
# ## Which patch looks at which
#
# Inside the Vision Transformer there is more attention than that of the last query: in each layer every patch looks at
# every patch, with four heads (lesson 10). Here is one patch, framed, and what it looks at in the first layer:

# %%
i, patch = chosen[3], 5
figure, axes = plt.subplots(1, 5, figsize=(11, 2.9), layout="constrained")
axes[0].imshow(test.images[i], cmap="gray_r", extent=(0, 8, 8, 0))
axes[0].set(xticks=[], yticks=[], title="16 patches")
for line in (2, 4, 6):
    axes[0].axhline(line, color="#888888", linewidth=0.7)
    axes[0].axvline(line, color="#888888", linewidth=0.7)
for h, ax in enumerate(axes[1:]):
    lay(ax, test.images[i], seen.layers[0][i, h, patch].reshape(4, 4), 1.0)
    ax.set_title(f"head {h}")
for ax in axes:
    row, column = divmod(patch, 4)
    ax.add_patch(plt.Rectangle((2 * column, 2 * row), 2, 2, fill=False, edgecolor=COLOURS[0], linewidth=2.5))
figure.suptitle("In one layer the same patch looks at different places with each head (full orange: weight 1)")
keep(figure, "16_patches")

# %% [markdown]
# **Predict.** A head finds the patches that it wants, wherever they are. How does it know where they are? To each patch
# the model adds a vector that was learned for that place, `params["places"]`. Take those away, all of them, without
# training anew. Then take an image and put its 16 patches into another order. What becomes of the ten scores?
#
# - a: they stay as they are, up to rounding
# - b: they become others, since every patch has other neighbours
# - c: they become others, since the matrices were trained with places, and know something of the order

# %%
### BEGIN SOLUTION
shuffled_patches = "a"
### END SOLUTION
check.shuffled_patches(shuffled_patches)

# %% [markdown]
# Rows of patches change places among each other, and so do columns:

# %%
fours = np.random.default_rng(0).permutation(4)
turned = np.stack([2 * fours, 2 * fours + 1], axis=1).ravel()  # the 8 rows of pixels, two and two
ordered, shuffled = test.images[..., None], test.images[:, turned][:, :, turned, None]  # (B, Y, X, 1)
placed = tree.astype(transformer, np.float64)
scores = {}
for name, params in (("with places", placed), ("without places", placed | {"places": 0 * placed["places"]})):
    scores[name] = [vision.forward(params, shown)[0] for shown in (ordered, shuffled)]
    right, wronged = [(read.argmax(axis=-1) == test.labels).mean() for read in scores[name]]
    print(f"{name:14} {right:.0%} right, with shuffled patches {wronged:.0%}")
agree(*scores["without places"])

# %% [markdown]
# Without places the model, which was trained with them, reads no better than a guess; but whatever the order of the
# patches, its scores are the same for each of the 510 digits. With places it sees that the parts of a digit are where
# they should not be.

# %% [markdown]
# ## How good is it
#
# Two methods without attention, on the same digits. **Logistic regression** is one matrix from 64 pixels to 10
# scores, trained by the same loss. **The nearest image** learns nothing at all: it looks through the training images
# for the one whose pixels differ least, and says what that one shows.


# %%
def pixels_of(part):
    return part.images.reshape(len(part.labels), -1)  # (B, 64)


def logistic(train, test, updates=300):
    x, state = pixels_of(train), None
    params = {"W": np.zeros((64, 10)), "b": np.zeros(10)}
    for _ in range(updates):
        loss, *needed = cross_entropy(linear(x, params["W"], params["b"]), train.labels)
        dlogits = cross_entropy_backward(Loss(1.0), *needed)
        _, dW, db = linear_backward(dlogits, x, params["W"], params["b"])
        params, state = optim.adam(params, {"W": dW, "b": db}, state, learning_rate=0.03)
    return linear(pixels_of(test), params["W"], params["b"]).argmax(axis=-1)


def nearest(train, test):
    ours, theirs = pixels_of(train), pixels_of(test)
    squared = (theirs**2).sum(axis=1)[:, None] - 2 * theirs @ ours.T + (ours**2).sum(axis=1)  # (test, train)
    return train.labels[squared.argmin(axis=1)]


seeds = data("16_seeds.json")
wrong = {
    "nearest training image": [int((nearest(train, test) != test.labels).sum())],
    "convolutions and a query": seeds["models"]["convolutions and a query"]["wrong"],
    "Vision Transformer": seeds["models"]["Vision Transformer"]["wrong"],
    "logistic regression": [int((logistic(train, test) != test.labels).sum())],
}
for name, counts in wrong.items():
    print(f"{name:25} wrong {' '.join(map(str, counts)):9} of {len(test.labels)}")

figure, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
for row, counts in enumerate(wrong.values()):
    ax.barh(row, np.mean(counts), color=COLOURS[5], height=0.6, label=None if row else "mean over the seeds")
    ax.plot(counts, [row] * len(counts), "o", color=COLOURS[1], label=None if row else "one run")
ax.set_yticks(range(len(wrong)), wrong)
ax.invert_yaxis()
ax.set(xlabel=f"digits read wrongly, of {len(test.labels)}", title="Attention does not win here")
ax.legend(loc="upper right")
keep(figure, "16_scores")

# %% [markdown]
# The two models with attention are those of the data file: 900 updates, three seeds each. Looking up the nearest of
# 1,287 images beats them all, and three seeds of one model differ by more than the two models do. On 8 × 8 pixels and a
# thousand examples attention has little to gain. Dosovitskiy et al. report that their Vision Transformer falls
# behind convolutions when it is trained on a million images, and overtakes them with hundreds of millions (section 4.3;
# not reproduced here).
#
# One more caution. The file keeps the order in which people filled in forms. `digits.split()` cuts it in two, so that
# few people are on both sides. A shuffled split puts everybody on both:

# %%
for seed in range(3):
    mixed, rest = digits.split(seed)
    both = [int((method(mixed, rest) != rest.labels).sum()) for method in (nearest, logistic)]
    print(f"shuffled, seed {seed}: nearest image {both[0]:2} wrong, logistic regression {both[1]:2} wrong")

# %% [markdown]
# Now both look much better, and all that has been added is the handwriting of those who are tested.

# %% [markdown]
# ## A surprise
#
# The query of the convolutions was never told what ink is. Surely its attention lies on the ink?

# %%
inked = test.images > 0.25  # (B, Y, X)
print(f"share of the attention that lies on ink: {(looked * inked).sum(axis=(1, 2)).mean():.2f}")
print(f"share of the pixels that are ink:        {inked.mean():.2f}")

# %% [markdown]
# It does not: the ink gets about as much as it would if the query looked anywhere. Now take ink away. Paint pixels
# white, those with the most attention first, and compare with white paint on any inked pixels, drawn at random:

# %%
rng = np.random.default_rng(0)
flat_images, B = images.reshape(len(images), 64), len(images)
orders = {
    "most attention first": -looked.reshape(B, 64),
    "any place": rng.random((B, 64)),
    "any ink": rng.random((B, 64)) - 2 * inked.reshape(B, 64),
}
hidden = np.array([0, 2, 4, 6, 8])
right = {name: [] for name in orders}
for name, order in orders.items():
    places = order.argsort(axis=1)
    for count in hidden:
        painted = flat_images.copy()
        np.put_along_axis(painted, places[:, :count], 0, axis=1)
        read, _ = classify.answer(model, flat.params, painted.reshape(images.shape))
        right[name].append((read == test.labels).mean())
    print(f"{name:21}", " ".join(f"{share:.2f}" for share in right[name]))

# %% [markdown]
# Painting over what was attended to most harms only a little more than painting anywhere. Painting over ink harms far
# more. The reason is in the convolutions: the features *at* a place tell of the 5 × 5 pixels around it, and a white
# place in the crook of a stroke can tell more than a black one in its middle. The map says at which place the
# features were read. It does not say which pixels made them. Lesson 15 is about what else a map does not say.

# %% [markdown]
# ## Exercises
#
# 1. **Predict.** Shift an image by one pixel (nothing is lost at the border). What happens to the features of the
#    convolutions, to the map of the query, and to the answer? And in the Vision Transformer?
# 2. **By hand.** In *Compute*, let the query be √2 · (0, 1). Which place gets how much?
# 3. **Write.** The mean of all places instead of the query: which query in `pooling` gives exactly that?
# 4. **Mend.** Somebody learns a second query to look at a second thing and adds the two contexts. Both queries come out
#    nearly the same. What would you change?
#
# <details><summary>Answers</summary>
#
# 1. The features move along with the ink, and so does the map; the context is an average that does not know where, so
#    the answer stays (the border, where zeros were added, can disturb it a little). In the Vision Transformer a shift
#    by one pixel changes what is in every patch, and each patch has a place of its own: everything may change. It has
#    to learn this from examples; both models were trained on shifted images, so that the comparison is fair.
# 2. The scores are 2, 2, 1; e to that: 7.389, 7.389, 2.718, sum 17.496; the weights 0.422, 0.422, 0.155. It asks for
#    much ink, and two places have the same.
# 3. A query of zeros: all scores are 0, all weights 1/S. Pooling by a query contains the mean as a special case.
# 4. Adding makes the two exchangeable: nothing asks them to differ. Put the contexts side by side instead, so that each
#    has rows of its own in `W_out`: that is what several heads do (`attention=multihead` in `pooling`).
#
# </details>

# %% [markdown]
# ### In cells that answer
#
# **Write** what a Vision Transformer does first: cut images into patches of P × P pixels. The patch at the top on the
# left comes first, then the one on its right, and so on, row by row of patches. The pixels of a patch are read in the
# same way, row by row, and the C numbers of a pixel (its colours) stay side by side. `check.patches.hint(1)` is there
# if you are stuck.


# %%
def patches(images, P):
    """images (B, height, width, C), P divides height and width -> (B, number of patches, P * P * C)."""
    ### BEGIN SOLUTION
    B, height, width, C = images.shape
    rows, columns = height // P, width // P
    cut = images.reshape(B, rows, P, columns, P, C)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(B, rows * columns, P * P * C)
    ### END SOLUTION


# %%
check.patches(patches)

# %% [markdown]
# ## Read
#
# - Xu et al. 2015, *Show, attend and tell*, arXiv:1502.03044, section 3.1.2: attention over the places of a
#   convolutional network.
# - Dosovitskiy et al. 2021, *An image is worth 16x16 words*, arXiv:2010.11929, section 3.1: the Vision Transformer;
#   section 4.3: how many images it needs.
# - Zhai et al. 2022, *Scaling vision transformers*, arXiv:2106.04560, section 3: a learned query in the place of a
#   class token.
# - Alpaydin & Kaynak 1998, *Optical recognition of handwritten digits*, UCI Machine Learning Repository,
#   doi:10.24432/C50P49: the digits.
