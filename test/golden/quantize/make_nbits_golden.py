"""Writes nbits.json: what ONNX Runtime's own quantizer makes of small matrices, and what its MatMulNBits gives for one input.

python make_nbits_golden.py (onnxruntime 1.32, onnx, numpy)
"""

import json

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import _pybind_state as native

QUANTIZE = {8: native.quantize_matmul_8bits, 4: native.quantize_matmul_4bits, 2: native.quantize_matmul_2bits}


def packed_bytes(blocks, bits):
    return (blocks * bits + 7) // 8


def case(seed, k, n, bits, block, symmetric):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.5, (k, n)).astype(np.float32)
    if seed % 2:
        weight[:block, 0] = 0  # a block of zeros
        weight[:, 1] = np.abs(weight[:, 1])  # nothing below zero
    blocks = (k + block - 1) // block
    codes = np.zeros((n, blocks, block * bits // 8), dtype=np.uint8)
    scales = np.zeros((n, blocks), dtype=np.float32)
    zeros = np.zeros((n, packed_bytes(blocks, bits)), dtype=np.uint8)
    QUANTIZE[bits](codes, weight, scales, zeros, block, n, k, symmetric)
    x = rng.normal(0, 1, (2, k)).astype(np.float32)
    return {
        "k": k, "n": n, "bits": bits, "blockSize": block, "symmetric": symmetric,
        "weight": [float(v) for v in weight.ravel()],
        "codes": codes.ravel().tolist(),
        "scales": [float(v) for v in scales.ravel()],
        "zeroPoints": None if symmetric else zeros.ravel().tolist(),
        "x": [float(v) for v in x.ravel()],
        "y": run(x, codes, scales, None if symmetric else zeros, k, n, bits, block),
    }


def run(x, codes, scales, zeros, k, n, bits, block):
    inputs = {"B": codes, "scales": scales}
    if zeros is not None:
        inputs["zeros"] = zeros.reshape(-1)
    node = helper.make_node("MatMulNBits", ["A", *inputs], ["Y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("A", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [x.shape[0], n])],
        [helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape, v.tobytes(), raw=True) for name, v in inputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [float(v) for v in session.run(None, {"A": x})[0].ravel()]


cases = []
for bits in (8, 4, 2):
    for symmetric in (False, True):
        cases.append(case(len(cases), 32, 3, bits, 16, symmetric))
        cases.append(case(len(cases), 40, 3, bits, 16, symmetric))
with open("nbits.json", "w") as file:
    json.dump({"source": f"onnxruntime {onnxruntime.__version__}, MatMulNBits quantizer and kernel", "cases": cases}, file)
