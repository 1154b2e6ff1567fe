"""Parametrized weights of torch are computed on import, and told; what is not known is refused."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.flax_twins import data, load_file, tnn, torch

import jaxgroups.convert as jc
import jaxgroups.nnx as jnn
from jaxgroups.convert._rules import merges

P = torch.nn.utils.parametrizations
prune = pytest.importorskip("torch.nn.utils.prune")
pytestmark = [
    pytest.mark.usefixtures("flax_promotion"),
    # the tests read them in the reports
    pytest.mark.filterwarnings("ignore::jaxgroups.convert.ConversionWarning"),
]

LAYERS = {
    "Linear": (lambda: tnn.Linear(4, 6), lambda r: nnx.Linear(4, 6, rngs=r), (5, 4)),
    "Linear, square": (lambda: tnn.Linear(4, 4), lambda r: nnx.Linear(4, 4, rngs=r), (5, 4)),
    "Conv2d": (
        lambda: tnn.Conv2d(4, 6, (3, 2), groups=2),
        lambda r: jnn.Conv2d(4, 6, (3, 2), groups=2, rngs=r),
        (2, 4, 5, 7),
    ),
    "Conv2d, equal sizes": (
        lambda: tnn.Conv2d(3, 3, 3),
        lambda r: jnn.Conv2d(3, 3, 3, rngs=r),
        (2, 3, 5, 7),
    ),
    "ConvTranspose2d": (
        lambda: tnn.ConvTranspose2d(4, 6, (3, 2), groups=2),
        lambda r: jnn.ConvTranspose2d(4, 6, (3, 2), groups=2, rngs=r),
        (2, 4, 3, 5),
    ),
    "ConvTranspose2d, equal sizes": (
        lambda: tnn.ConvTranspose2d(3, 3, 3),
        lambda r: jnn.ConvTranspose2d(3, 3, 3, rngs=r),
        (2, 3, 3, 5),
    ),
    "flax ConvTranspose, equal sizes": (
        lambda: tnn.ConvTranspose2d(3, 3, 3),
        lambda r: nnx.ConvTranspose(3, 3, (3, 3), padding=((2, 2), (2, 2)), rngs=r),
        (2, 3, 3, 5),
    ),
}


def trained(module):
    """A few steps, so that no vector of a parametrization is the one it began with."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x = torch.from_numpy(data(module.shape))
    for _ in range(3):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    return module.eval()


def made(name, parametrize):
    torch.manual_seed(2)
    module = LAYERS[name][0]().double()
    module.shape = LAYERS[name][2]
    return trained(parametrize(module))


def output(model, x):
    if x.ndim == 2:
        return np.asarray(model(jnp.asarray(x)))
    return np.moveaxis(np.asarray(model(jnp.asarray(np.moveaxis(x, 1, -1)))), -1, 1)


def assert_loaded(name, module, tmp_path, noun, warnings=()):
    """Torch's outputs, and its weights again in a layer without parametrization."""
    source = tmp_path / "model.pth"
    torch.save(module.state_dict(), source)
    model = nnx.eval_shape(lambda: LAYERS[name][1](nnx.Rngs(0)))
    model, report = jc.load_torch(model, source)
    x = data(LAYERS[name][2])
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(output(model, x), expected, rtol=1e-11, atol=1e-12)
    assert len(report.folded) == 1
    assert report.folded[0].startswith(f"{noun} of ")
    assert report.folded[0].endswith(" is folded: import only")
    assert report.warnings == list(warnings)
    plan = jc.Plan.from_json(report.plan.to_json())
    assert plan.entries == report.plan.entries
    flax = tmp_path / "flax.safetensors"
    assert jc.convert_file(source, flax, plan) == report.folded
    assert jc.verify_file(source, flax, plan) == []
    message = f"a folded {noun} cannot be taken apart again"
    with pytest.raises(ValueError, match=message):
        jc.convert_file(flax, tmp_path / "back.safetensors", plan, to="torch")
    jc.save_torch(model, tmp_path / "back.safetensors")
    plain = LAYERS[name][0]().double()
    plain.load_state_dict(load_file(tmp_path / "back.safetensors"))
    with torch.no_grad():
        again = plain(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(again, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("style", ["older", "registered"])
@pytest.mark.parametrize("name", LAYERS)
def test_spectral_norm(name, style, tmp_path):
    if style == "older":
        module = made(name, tnn.utils.spectral_norm)
        assert {"weight_orig", "weight_u", "weight_v"} < set(module.state_dict())
    else:
        module = made(name, P.spectral_norm)
        assert "parametrizations.weight.0._u" in module.state_dict()
    assert_loaded(name, module, tmp_path, "spectral norm")


@pytest.mark.parametrize("name", LAYERS)
def test_pruned(name, tmp_path):
    def pruned(module):
        prune.random_unstructured(module, "weight", amount=0.4)
        return module

    module = made(name, pruned)
    assert {"weight_orig", "weight_mask"} < set(module.state_dict())
    kept = module.weight_mask.detach().numpy()
    assert 0 < kept.sum() < kept.size
    assert_loaded(name, module, tmp_path, "pruning mask")


def test_pruned_bias_and_weight():
    module = tnn.Linear(4, 6).double()
    for name in ("weight", "bias"):
        prune.random_unstructured(module, name, amount=0.5)
    state = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    model, report = jc.load_torch(nnx.Linear(4, 6, rngs=nnx.Rngs(0)), state)
    np.testing.assert_array_equal(model.bias.get_value(), module.bias.detach().numpy())
    np.testing.assert_array_equal(model.kernel.get_value(), module.weight.detach().numpy().T)
    assert len(report.folded) == 2


@pytest.mark.parametrize("name", ["Linear", "Linear, square", "Conv2d"])
def test_orthogonal_by_its_default_map(name, tmp_path):
    """The file does not hold the map, so the warning names the one that is taken."""
    module = made(name, P.orthogonal)
    shape = tuple(module.weight.shape)
    default = "matrix_exp" if shape[-1] == shape[-2] else "householder"
    warning = (
        f"parametrizations.weight.original: taken as torch's orthogonal with "
        f"orthogonal_map={default!r}, the default for such a shape; the file does not hold the "
        "map: for another one, call torch.nn.utils.parametrize.remove_parametrizations before "
        "saving in torch"
    )
    assert_loaded(name, module, tmp_path, "orthogonal parametrization", [warning])


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3), (2, 3, 4), (3, 3, 3)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
def test_every_orthogonal_map(kind, shape):
    torch.manual_seed(1)
    module = tnn.Module()
    module.weight = tnn.Parameter(torch.randn(shape, dtype=torch.float64))
    P.orthogonal(module, orthogonal_map=kind)
    original = module.parametrizations.weight.original
    with torch.no_grad():
        change = torch.randn(shape, dtype=torch.float64)
        change.diagonal(dim1=-2, dim2=-1).zero_()  # which training leaves as it is
        original += change
    arrays = [original.detach().numpy(), module.parametrizations.weight[0].base.numpy()]
    op = merges.Orthogonal(kind)
    assert op.problem([array.shape for array in arrays]) == ""
    expected = module.weight.detach().numpy()
    np.testing.assert_allclose(op.merged(arrays), expected, rtol=1e-11, atol=1e-13)


def test_a_plan_may_be_given_another_map(tmp_path):
    """In its JSON, by a user who knows it."""
    module = made("Linear, square", lambda m: P.orthogonal(m, orthogonal_map="cayley"))
    torch.save(module.state_dict(), tmp_path / "model.pth")
    model = nnx.eval_shape(lambda: nnx.Linear(4, 4, rngs=nnx.Rngs(0)))
    text = jc.plan(model, tmp_path / "model.pth").to_json().replace("matrix_exp", "cayley", 1)
    data = json.loads(text)
    assert [e["merge"] for e in data["entries"] if e["merge"]] == [
        ["Orthogonal", {"map": "cayley"}]
    ]
    jc.convert_file(tmp_path / "model.pth", tmp_path / "f.safetensors", jc.Plan.from_json(text))
    with jc.open_checkpoint(tmp_path / "f.safetensors") as flax:
        kernel = flax.read("kernel")
    np.testing.assert_allclose(kernel, module.weight.detach().numpy().T, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("kind", ["spectral", "orthogonal", "mask"])
def test_the_dtype_stays(kind, dtype):
    parametrize = {
        "spectral": P.spectral_norm,
        "orthogonal": P.orthogonal,
        "mask": lambda m: prune.random_unstructured(m, "weight", amount=0.5),
    }[kind]
    torch.manual_seed(0)
    module = tnn.Linear(4, 4)
    parametrize(module)
    module.eval()
    if kind == "orthogonal":
        with torch.no_grad():
            module.parametrizations.weight.original.normal_()
    state = {k: v.detach().numpy().astype(dtype) for k, v in module.state_dict().items()}
    model, _ = jc.load_torch(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), state)
    kernel = model.kernel.get_value()
    assert kernel.dtype == dtype
    near = {"float16": 4e-3, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(kernel, module.weight.detach().numpy().T, atol=near)


# --- LSTM under a parametrization -----------------------------------------------------------------


def test_a_parametrized_weight_of_an_lstm():
    """All gates are in one tensor, so each takes its part of the folded one."""
    torch.manual_seed(0)
    module = tnn.LSTM(3, 4, batch_first=True).double()
    P.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(torch.rand(16, 1).double() + 0.5)
    state = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    cell = nnx.LSTMCell(3, 4, param_dtype="float64", rngs=nnx.Rngs(0))
    model, report = jc.load_torch(nnx.RNN(cell), state)
    x = data((2, 5, 3))
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, rtol=1e-11)
    assert len(report.folded) == 2
    assert report.warnings == [
        "parametrizations.weight_hh_l0.original1 and 3 more: a parametrization of two tensors is "
        "taken as a weight norm; the file does not name it: for another one, call "
        "torch.nn.utils.parametrize.remove_parametrizations before saving in torch"
    ]


# --- what is refused ------------------------------------------------------------------------------


class Symmetric(tnn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT


def refused(state, model=None):
    model = model or nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    for strict in (True, False):
        before = np.asarray(model.kernel.get_value())
        try:
            jc.load_torch(model, state, strict=strict)
        except jc.ConversionError as error:
            if strict:
                text = str(error)
        assert np.array_equal(model.kernel.get_value(), before)
    return text


HINT = (
    "hint: weight: the file does not say what this parametrization computes: call "
    'torch.nn.utils.parametrize.remove_parametrizations(module, "weight") in torch before saving'
)


@pytest.mark.parametrize(
    "parametrize",
    [
        lambda m: tnn.utils.parametrize.register_parametrization(m, "weight", Symmetric()),
        lambda m: P.orthogonal(m, orthogonal_map="householder", use_trivialization=False),
        lambda m: P.spectral_norm(P.orthogonal(m)),
        lambda m: P.spectral_norm(P.weight_norm(m)),
        lambda m: P.spectral_norm(
            tnn.utils.parametrize.register_parametrization(m, "weight", Symmetric())
        ),
    ],
    ids=["own", "without base", "two", "two tensors and one", "own first"],
)
def test_what_a_file_does_not_tell_is_refused(parametrize):
    module = tnn.Linear(4, 4)
    parametrize(module)
    text = refused({k: v.detach().numpy() for k, v in module.state_dict().items()})
    assert '\tMissing key(s) in state_dict: "weight".' in text
    assert HINT in text


def test_an_older_spectral_norm_keeps_its_weight():
    """Before version 1 the file has the normalized weight, and no v."""
    w = np.arange(16, dtype="f4").reshape(4, 4)
    state = {"weight": w / 2, "weight_orig": w, "weight_u": np.ones(4, "f4")}
    state["bias"] = np.ones(4, "f4")
    with pytest.raises(jc.ConversionError) as error:
        jc.load_torch(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), state)
    text = str(error.value)
    assert "weight is the normalized tensor of an older torch's spectral norm: pass ignore=" in text
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    model, _ = jc.load_torch(model, state, ignore=[r".*_(orig|u)"])
    np.testing.assert_array_equal(model.kernel.get_value(), (w / 2).T)


WRONG = {
    "u": ({"weight_u": np.ones(5)}, "(5,) and (4,) are not the shapes of u and v for a weight"),
    "v": ({"weight_v": np.ones((4, 1))}, "(4,) and (4, 1) are not the shapes of u and v"),
    "swapped": (
        {"weight_orig": np.ones((4, 3)), "weight_u": np.ones(3)},
        "(3,) and (4,) are not the shapes of u and v for a weight of shape (4, 3)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_vectors_of_other_sizes_are_refused(name):
    change, message = WRONG[name]
    state = {"weight_orig": np.ones((4, 4)), "weight_u": np.ones(4), "weight_v": np.ones(4)}
    state |= change
    inputs = state["weight_orig"].shape[1]
    model = nnx.Linear(inputs, 4, use_bias=False, rngs=nnx.Rngs(0))
    text = refused(state, model)
    assert f"size mismatch for weight_u, weight_v: {message}" in text


@pytest.mark.parametrize(("mask", "message"), [((4, 1), "(4, 1)"), ((4,), "(4,)")])
def test_a_mask_of_another_shape_is_refused(mask, message):
    state = {"weight_orig": np.ones((4, 4)), "weight_mask": np.ones(mask), "bias": np.ones(4)}
    assert f"the shapes (4, 4) and {message} are not the same" in refused(state)


def test_a_base_of_another_shape_is_refused():
    front = "parametrizations.weight."
    state = {f"{front}original": np.ones((4, 4)), f"{front}0.base": np.ones((4, 1))}
    text = refused(state | {"bias": np.ones(4)})
    assert "(4, 1) is not the shape of a base for a weight of shape (4, 4)" in text


@pytest.mark.parametrize("dtype", ["complex128", "int64"])
def test_vectors_of_another_kind_are_refused(dtype):
    """A complex one would lose its imaginary part."""
    state = {"weight_orig": np.ones((4, 4)), "weight_u": np.ones(4), "weight_v": np.ones(4)}
    state |= {"weight_v": np.ones(4, dtype), "bias": np.ones(4)}
    message = f"dtype mismatch for weight_v: {dtype}, but weight_orig is float64."
    assert message in refused(state)


def test_another_file_than_the_plan_was_made_of_is_refused(tmp_path):
    """The plan has the shape of the first tensor alone; the others would broadcast."""
    state = {"weight_orig": np.ones((4, 4)), "weight_mask": np.ones((4, 4)), "bias": np.ones(4)}
    plan = jc.plan(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), state)
    state["weight_mask"] = np.ones((4, 1))
    torch.save({k: torch.from_numpy(v) for k, v in state.items()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"weight_mask: the shapes \(4, 4\) and \(4, 1\)"):
        jc.convert_file(tmp_path / "model.pth", tmp_path / "flax.safetensors", plan)
    assert not (tmp_path / "flax.safetensors").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["Exec", {}], "unknown merge"),
        (["Orthogonal", {"map": "qr"}], "map must be one of matrix_exp"),
        (["SpectralNorm", {"axis": -1}], "axis must be an integer >= 0"),
        (["SpectralNorm", {"axis": True}], "axis must be an integer >= 0"),
        (["FlaxOnly", {"value": float("nan"), "exact": True}], "value must be a finite number"),
        (["FlaxOnly", {"value": "0", "exact": True}], "value must be a finite number"),
        (["FlaxOnly", {"value": 0, "exact": 1}], "exact must be True or False"),
        (["Sum", {"axis": 0}], r"Sum: expected the fields \[\], got \['axis'\]"),
        (["Sum"], "unknown merge"),
        (None, "unknown merge"),
    ],
)
def test_json_outside_the_closed_set_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        merges.from_json(data)
