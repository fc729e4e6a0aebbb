"""Models that give one answer for a whole image or a whole sound: what they must be besides differentiable."""

import numpy as np
import pytest

from minattn.attention import additive
from minattn.models import pooling, speech, vision
from minattn.op import bind
from minattn.recurrent import gru


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_query_of_zeros_takes_the_mean(rng):
    x, params = rng.normal(size=(2, 5, 3)), pooling.init(rng, M=3)
    context, cache = pooling.forward(params | {"query": np.zeros((1, 3))}, x, lengths=np.array([5, 2]))
    np.testing.assert_allclose(context, [x[0].mean(axis=0), x[1, :2].mean(axis=0)], atol=1e-15)
    np.testing.assert_allclose(cache.weights[1], [0.5, 0.5, 0, 0, 0], atol=1e-15)


def test_the_query_chooses(rng):
    x = rng.normal(size=(2, 5, 3))
    params = pooling.init(rng, M=3) | {"query": 1e3 * x[:1, 2]}
    best = (x @ x[0, 2]).argmax(axis=-1)
    np.testing.assert_allclose(pooling.forward(params, x)[0], x[[0, 1], best], atol=1e-12)


def test_heads_look_for_different_things(rng):
    from minattn.attention import multihead

    op = bind(pooling, attention=multihead)
    params = op.init(rng, M=4, H=2)
    _, cache = op.forward(params, rng.normal(size=(3, 5, 4)))
    assert cache.weights.shape == (3, 5)
    np.testing.assert_allclose(cache.weights, cache.asked.weights[:, :, 0].mean(axis=1), atol=0)
    np.testing.assert_allclose(cache.weights.sum(axis=-1), 1, atol=1e-12)


def test_a_convolution_as_large_as_its_stride_is_one_matrix_for_all_patches(rng):
    params = vision.init(rng, V=3, Y=4, X=6, M=5, L=0)
    images = rng.normal(size=(2, 4, 6, 1))
    _, cache = vision.forward(params, images)
    patches = images.reshape(2, 2, 2, 3, 2).swapaxes(2, 3).reshape(2, 6, 4)  # (B, S, 2 x 2)
    x = patches @ params["convolutions"]["0"]["W"].reshape(4, 5)
    x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    expected, _ = pooling.forward(params["pooling"], x)
    np.testing.assert_allclose(cache.context, expected, atol=1e-12)
    assert cache.weights.shape == (2, 2, 3)


def test_without_places_an_image_is_a_bag_of_patches(rng):
    params = vision.init(rng, V=3, Y=4, X=6, M=4, L=1)
    images = rng.normal(size=(2, 4, 6, 1))
    mixed = np.concatenate([images[:, :, 2:], images[:, :, :2]], axis=2)  # patches in another order
    bag = {name: part for name, part in params.items() if name != "places"}
    np.testing.assert_allclose(vision.forward(bag, mixed)[0], vision.forward(bag, images)[0], atol=1e-12)
    assert abs(vision.forward(params, mixed)[0] - vision.forward(params, images)[0]).max() > 1e-3


def test_convolutions_keep_every_place(rng):
    eye = bind(vision, kernels=(3, 5), strides=(1, 1), attention=additive)
    params = eye.init(rng, V=10, Y=8, X=7, M=4, A=3, L=0)
    logits, cache = eye.forward(params, rng.normal(size=(2, 8, 7, 1)))
    assert logits.shape == (2, 10) and cache.weights.shape == (2, 8, 7)
    assert cache.layers == [] and "places" not in params


def test_images_that_do_not_fit(rng):
    params = vision.init(rng, V=3, Y=4, X=6, M=4, L=1)
    with pytest.raises(ValueError, match=r"grey images get their one channel by images\[..., None\]"):
        vision.forward(params, rng.normal(size=(2, 4, 6)))
    with pytest.raises(ValueError, match="images of 5 x 6 cannot be divided by strides of 2"):
        vision.forward(params, rng.normal(size=(2, 5, 6, 1)))
    with pytest.raises(ValueError, match="one number for each of the 1 convolutions"):
        vision.forward(params, rng.normal(size=(2, 4, 6, 1)), strides=(2, 1))
    with pytest.raises(ValueError, match=r"places has shape \(6, 4\)"):
        vision.forward(params, rng.normal(size=(2, 4, 4, 1)))
    with pytest.raises(TypeError, match="images must be floating"):
        vision.forward(params, np.ones((2, 4, 6, 1), dtype=int))
    with pytest.raises(ValueError, match="a kernel of 3 with a stride of 2 has no middle"):
        vision.init(rng, V=3, Y=4, X=4, M=4, kernels=(3,), strides=(2,))


@pytest.mark.parametrize("ear", [speech, bind(speech, cell=gru)], ids=["lstm", "gru"])
def test_a_sound_is_heard_the_same_alone_and_among_longer_ones(rng, ear):
    params = ear.init(rng, V=5, I=3, N=4)
    features = rng.normal(size=(2, 6, 3))
    logits, cache = ear.forward(params, features, lengths=np.array([6, 4]))
    alone, cache_alone = ear.forward(params, features[1:, :4])
    np.testing.assert_allclose(logits[1:], alone, atol=1e-13)
    np.testing.assert_allclose(cache.weights[1, :4], cache_alone.weights[0], atol=1e-13)
    assert (cache.weights[1, 4:] == 0).all()
