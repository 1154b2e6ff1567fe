"""Inference of a network by ONNX Runtime and by OpenVINO, from an ONNX file of torch's export.

Both compute in float32 with the weights as constants, as their users do.
"""

import time
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.prepared import Prepared


def by_onnxruntime(path: str, x: np.ndarray, threads: int) -> Prepared:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    notes = {"compile_seconds": time.perf_counter() - start}
    given = {session.get_inputs()[0].name: x}

    def call() -> Any:
        return session.run(None, given)

    return Prepared(call, call, notes)


def by_openvino(path: str, x: np.ndarray, threads: int) -> Prepared:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the processor has it
    }
    core = openvino.Core()
    start = time.perf_counter()
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    notes = {"compile_seconds": time.perf_counter() - start}
    inference = compiled.create_infer_request()
    output = compiled.outputs[0]

    def call() -> Any:
        return inference.infer([x], share_inputs=True, share_outputs=True)

    return Prepared(call, lambda: [np.array(call()[output])], notes)


BY = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def prepare(request: dict[str, Any]) -> Prepared:
    """The contestant ``onnxruntime`` or ``openvino`` in a worker."""
    images, _ = networks.inputs(request["batch"], request["size"])
    return BY[request["contestant"]](request["onnx"], images, request["threads"])
