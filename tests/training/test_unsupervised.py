"""Hashers without labels, against SciPy's Procrustes rotation, plain covariances, and FAISS.

FAISS's own ITQ (1.15) multiplies U V where the Procrustes rotation of a singular value decomposition U S Vᵀ is U Vᵀ:
its error rises and falls from one iteration to the next. So it serves as a bound on ours, not as a twin.
"""

import faiss
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from scipy.linalg import orthogonal_procrustes

from transhash import load_hasher
from transhash.encoding.run import encode
from transhash.errors import ModelError, TrainingError
from transhash.hashers.architecture import POOLS, Architecture
from transhash.hashers.smvit import plain_backbone
from transhash.hashers.transhash import start
from transhash.sources import ImageList, decode, list_images
from transhash.training.alignment import aligned
from transhash.training.config import FitConfig
from transhash.training.projections import itq, lsh, rotation, whiten
from transhash.training.unsupervised import fit
from transhash.training.views import view

pytestmark = pytest.mark.slow

SIZES = {"backbone": "test_vit", "image_size": 32, "patch_size": 8, "stride": 8, "groups": 0}
FLAT = Architecture(bits=16, **SIZES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a tiny backbone, as a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file({name: weight.contiguous() for name, weight in plain_backbone(FLAT).state_dict().items()}, path)
    return path


def values(seed, count, width):
    """Centered values of unequal variance along oblique axes."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, width)) @ rng.standard_normal((width, width))
    found = (found - found.mean(axis=0)) / found.std()
    return found.astype(np.float32).astype(np.float64)


def random_rotation(seed, width):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]


def signs(turned):
    return np.where(turned > 0, 1.0, -1.0)


def error(values, turned):
    """‖sign(V R) - V R‖."""
    return np.linalg.norm(signs(values @ turned) - values @ turned)


def faiss_rotation(values, first, iterations):
    width = values.shape[1]
    matrix = faiss.ITQMatrix(width)
    matrix.max_iter = iterations
    faiss.copy_array_to_vector(first.ravel(), matrix.init_rotation)
    matrix.train(values.astype(np.float32))
    return faiss.vector_to_array(matrix.A).reshape(width, width).T.astype(np.float64)  # it applies x Aᵀ


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "width"), [(300, 8), (20, 16), (1000, 32), (5, 8)])
def test_rotation_alternates_codes_and_procrustes(seed, count, width):
    data, first = values(seed, count, width), random_rotation(seed, width)
    expected = first
    for iterations in range(1, 6):
        expected = orthogonal_procrustes(data, signs(data @ expected))[0]
        ours = rotation(data, first, iterations)
        np.testing.assert_allclose(data @ ours, data @ expected, atol=1e-8)  # R itself is open where data lack rank


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "width"), [(300, 8), (600, 32)])
def test_rotation_has_less_error_than_faiss(seed, count, width):
    data, first = values(seed, count, width), random_rotation(seed, width)
    np.testing.assert_allclose(faiss_rotation(data, first, 0), first, atol=1e-6)  # the same convention
    for iterations in (3, 50):
        theirs = min(error(data, faiss_rotation(data, first, steps)) for steps in (1, iterations))
        assert error(data, rotation(data, first, iterations)) < theirs


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 20))
def test_error_never_increases(seed, count, width):
    data, turned = values(seed, count, width), random_rotation(seed, width)
    before = error(data, turned)
    for _ in range(8):
        turned = rotation(data, turned, 1)
        np.testing.assert_allclose(turned @ turned.T, np.eye(width), atol=1e-9)
        after = error(data, turned)
        assert after <= before + 1e-9 * (1 + before)
        before = after


def test_rotation_recovers_data_at_corners():
    corners = signs(np.random.default_rng(0).standard_normal((200, 8)))
    corners = np.concatenate([corners, -corners])
    back = random_rotation(1, 8)
    near, _ = np.linalg.qr(back + 0.1 * np.random.default_rng(2).standard_normal((8, 8)))
    near *= np.sign((near * back).sum(axis=0))
    data = corners @ back.T
    assert error(data, near) > 5
    assert error(data, rotation(data, near, 50)) < 1e-9


@pytest.mark.parametrize(("bits", "seed"), [(8, 0), (16, 1), (32, 2)])
def test_itq_rotates_the_principal_components(bits, seed):
    features = values(seed, 400, 32) + 5
    planes, mean = itq(features, bits, 50, np.random.default_rng(seed))
    np.testing.assert_allclose(mean, features.mean(axis=0))
    np.testing.assert_allclose(planes @ planes.T, np.eye(bits), atol=1e-9)
    _, vectors = np.linalg.eigh(np.cov(features.T))
    leading = vectors[:, -bits:]
    np.testing.assert_allclose(planes.T @ planes, leading @ leading.T, atol=1e-8)


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(16, 40), st.integers(0, 100))
def test_whiten_rotates_components_of_equal_variance(seed, octets, width, more):
    """Against the eigenvectors of the covariance: the outputs are uncorrelated and of variance 1."""
    bits = min(8 * octets, width)
    features = values(seed, width + 1 + more, width) + 5
    planes, mean = whiten(features, bits, 20, np.random.default_rng(seed))
    np.testing.assert_allclose(mean, features.mean(axis=0))
    variances, vectors = np.linalg.eigh(np.cov(features.T, bias=True))
    order = np.argsort(-variances)[:bits]
    assume(variances[order[-1]] > 1e-5 * variances[order[0]])
    whitened = (features - mean) @ vectors[:, order] / np.sqrt(variances[order])
    outputs = (features - mean) @ planes.T
    np.testing.assert_allclose(np.cov(outputs.T, bias=True), np.eye(bits), atol=1e-6)
    np.testing.assert_allclose(outputs @ outputs.T, whitened @ whitened.T, atol=1e-5)  # equal but for a rotation


def test_whiten_of_features_that_do_not_vary():
    planes, mean = whiten(np.full((20, 16), 3.0), 16, 5, np.random.default_rng(0))
    assert np.isfinite(planes).all()
    flat = values(0, 50, 16) * (np.arange(16) < 10)
    planes, mean = whiten(flat, 16, 5, np.random.default_rng(0))
    assert np.isfinite((flat - mean) @ planes.T).all()


@pytest.mark.parametrize(("bits", "seed"), [(8, 0), (16, 1), (32, 2)])
def test_itq_has_less_error_than_faiss(bits, seed):
    """On features of unit length and mean zero, which FAISS makes of any."""
    half = values(seed, 400, 32)
    features = np.concatenate([half, -half]).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    transform = faiss.ITQTransform(32, bits, True)
    transform.train(features)
    theirs = faiss.vector_to_array(transform.pca_then_itq.A).reshape(bits, 32).astype(np.float64)
    ours, _ = itq(features.astype(np.float64), bits, 50, np.random.default_rng(seed))
    np.testing.assert_allclose(theirs.T @ theirs, ours.T @ ours, atol=1e-4)  # the same subspace
    data = 4 * features.astype(np.float64)  # long enough for the rotation to matter to the error
    assert error(data, ours.T) < error(data, theirs.T)


@pytest.mark.parametrize(("count", "width", "bits"), [(100, 8, 16), (8, 100, 16), (15, 15, 16)])
def test_more_bits_than_there_are_directions(count, width, bits):
    for project in (itq, whiten):
        name = project.__name__
        with pytest.raises(
            TrainingError, match=rf"{name} of {bits} bits.* {count} images, {width} values.*lsh"
        ) as it:
            project(values(0, count, width), bits, 5, np.random.default_rng(0))
        assert "\n" not in str(it.value)
    assert lsh(values(0, count, width), bits, 5, np.random.default_rng(0))[0].shape == (bits, width)


def test_lsh_bits_differ_in_proportion_to_the_angle():
    """Charikar: two vectors from the mean at an angle θ differ in each bit with probability θ/π."""
    features = values(0, 10, 24) + 3
    bits = 20_000
    planes, mean = lsh(features, bits, 0, np.random.default_rng(0))
    np.testing.assert_allclose(mean, features.mean(axis=0))
    centered = features - mean
    codes = centered @ planes.T > 0
    for one in range(10):
        for other in range(one):
            cosine = centered[one] @ centered[other] / np.linalg.norm(centered[one]) / np.linalg.norm(centered[other])
            expected = np.arccos(cosine) / np.pi
            assert np.mean(codes[one] != codes[other]) == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(bits))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("method", ["itq", "whiten", "lsh"])
def test_fitted_hasher_is_saved_and_encodes(method, pool, pictures, weights, tmp_path):
    """Its codes are sign((features - mean) planesᵀ), with planes as the method promises them."""
    path = tmp_path / "h.safetensors"
    architecture = Architecture(bits=16, pool=pool, **SIZES)
    fit(list_images(pictures), architecture, FitConfig(method=method, seed=3), weights=weights).save(path)
    hasher = load_hasher(path)
    assert hasher.training == {"method": method, "images": 24, "seed": 3}
    assert (hasher.architecture, hasher.class_names) == (architecture, ())

    source = list_images(pictures)
    batch = np.stack([hasher.preprocess(decode.read(source.path(image))) for image in source.images])
    features = hasher.features(batch).astype(np.float64)
    untrained = start(architecture, weights=weights).features(batch)
    np.testing.assert_array_equal(features.astype(np.float32), untrained)  # the backbone is left as it was
    planes = hasher.net.heads[0].weight.detach().cpu().numpy().astype(np.float64)
    outputs = (features - features.mean(axis=0)) @ planes.T
    clear = np.abs(outputs) > 0.02 * np.abs(outputs).max()  # beyond the rounding of bf16
    assert clear.mean() > 0.8
    bits = np.unpackbits(np.asarray(encode(pictures, hasher).packed), axis=1).astype(bool)
    np.testing.assert_array_equal(bits[clear], outputs[clear] > 0)
    if method == "itq":
        np.testing.assert_allclose(planes @ planes.T, np.eye(16), atol=1e-5)


def test_a_trained_head_gives_two_views_the_same_bits_more_often():
    """Features of 8 directions that both views share, and of 24 that they do not."""
    rng = np.random.default_rng(0)
    turn = random_rotation(1, 32)
    shared = rng.standard_normal((2000, 8))
    one, other = (np.concatenate([shared, rng.standard_normal((2000, 24))], axis=1) @ turn for _ in range(2))
    weight, bias = aligned(one + 3, other + 3, 8, 20, np.random.default_rng(0))
    outputs = np.stack([(values + 3) @ weight.T + bias for values in (one, other)])
    np.testing.assert_allclose(outputs.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(outputs.std(axis=(0, 1)), 1, atol=1e-6)
    agreed = (signs(outputs[0]) == signs(outputs[1])).mean()
    planes, mean = itq(one, 8, 20, np.random.default_rng(0))
    before = (signs((one - mean) @ planes.T) == signs((other - mean) @ planes.T)).mean()
    assert agreed > before + 0.05
    assert np.abs(np.corrcoef(outputs[0].T) - np.eye(8)).max() < 0.5  # the bits differ from one another


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_a_view_is_an_image_that_depends_on_the_generator_only(width, height, seed):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    one, same = (view(image, np.random.default_rng(seed)) for _ in range(2))
    assert (one.mode, one.tobytes()) == ("RGB", same.tobytes())
    assert 1 <= one.width <= width
    assert 1 <= one.height <= height


def refusal(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        fit(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def head(hasher):
    return torch.cat([hasher.net.heads[0].weight.flatten(), hasher.net.heads[0].bias])


@pytest.mark.parametrize("method", ["itq", "whiten", "lsh", "crovca"])
def test_same_seed_same_hasher(method, pictures, weights):
    source = list_images(pictures)
    one, same, other = (head(fit(source, FLAT, FitConfig(method, seed=s), weights=weights)) for s in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("sample", "expected"), [(5, 5), (24, 24), (1000, 24)])
def test_sample_limits_the_images(sample, expected, pictures, weights):
    counts = []
    report = lambda count, _: counts.append(count)  # noqa: E731
    hasher = fit(list_images(pictures), FLAT, FitConfig("lsh", sample), weights=weights, on_batch=report)
    assert (sum(counts), hasher.training["images"]) == (expected, expected)


def test_sample_is_drawn_from_all_images_by_the_seed(weights, tmp_path):
    """Images that cannot be read show which were drawn."""
    for number in range(30):
        (tmp_path / f"{number:02}.png").touch()

    def drawn(seed):
        paths = []
        report = lambda _, skipped: paths.extend(item.path for item in skipped)  # noqa: E731
        config = FitConfig("lsh", sample=5, seed=seed)
        line = refusal(TrainingError, list_images(tmp_path), FLAT, config, weights=weights, on_batch=report)
        assert "0 images could be read" in line
        assert len(paths) == len(set(paths)) == 5
        return paths

    assert drawn(0) == drawn(0) == sorted(drawn(0))
    assert drawn(0) != drawn(1)
    assert max(drawn(0) + drawn(1)) > b"15.png"


def test_unreadable_images_are_skipped_and_reported(pictures, weights, tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.png").write_bytes((pictures / "cross" / f"{number % 8}.png").read_bytes())
    (tmp_path / "00.png").write_bytes(b"")
    (tmp_path / "39.png").write_bytes(b"no picture")
    seen = []
    report = lambda count, skipped: seen.append((count, [item.path for item in skipped]))  # noqa: E731
    hasher = fit(list_images(tmp_path), FLAT, FitConfig("lsh"), weights=weights, on_batch=report)
    assert seen == [(32, [b"00.png"]), (8, [b"39.png"])]
    assert hasher.training["images"] == 38


def test_refusals(pictures, weights, tmp_path):
    source = list_images(pictures)
    line = refusal(TrainingError, source, FLAT, FitConfig())
    assert "--pretrained" in line
    assert "--weights FILE" in line
    wide = Architecture(bits=32, **SIZES)
    computed = []
    report = lambda count, _: computed.append(count)  # noqa: E731
    line = refusal(TrainingError, source, wide, FitConfig(), weights=weights, on_batch=report)
    assert "crovca of 32 bits" in line
    assert computed == []  # no feature was computed before it was said
    grouped = Architecture(bits=16, **(SIZES | {"groups": 2}))
    assert "2 groups" in refusal(TrainingError, source, grouped, FitConfig(), weights=weights)
    assert "damaged" not in refusal(ModelError, source, FLAT, FitConfig(), weights=tmp_path / "none.safetensors")
    for count in (0, 1):
        few = ImageList(source.root, source.images[:count])
        assert f"{count} images could be read" in refusal(TrainingError, few, FLAT, FitConfig("lsh"), weights=weights)


@pytest.mark.parametrize("method", ["itq", "lsh"])
def test_weights_that_give_nan(method, pictures, tmp_path):
    state = {name: weight.contiguous() for name, weight in plain_backbone(FLAT).state_dict().items()}
    state["norm.weight"] = torch.full_like(state["norm.weight"], 3e38)
    save_file(state, tmp_path / "w.safetensors")
    source = list_images(pictures)
    line = refusal(TrainingError, source, FLAT, FitConfig(method), weights=tmp_path / "w.safetensors")
    assert "not a finite number" in line


@pytest.mark.parametrize("change", [{"method": "pca"}, {"sample": 1}, {"iterations": 0}, {"seed": -1}])
def test_values_out_of_range(change):
    with pytest.raises(TrainingError, match="must be"):
        FitConfig(**change)
