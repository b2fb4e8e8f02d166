"""Writes floats.json: float32 values, and their bits in narrow formats as PyTorch rounds them; ONNX Runtime's float8 scale.

python make_float_golden.py (torch, numpy, onnxruntime 1.32)
"""

import json

import numpy as np
import torch
from onnxruntime.quantization.quant_utils import compute_scale_zp_float8
from onnx import TensorProto

rng = np.random.default_rng(0)
values = np.concatenate([
    rng.normal(0, 1, 300) * 10.0 ** rng.uniform(-9, 2, 300),
    [0, -0.0, 1, -1, 2**-14, 2**-24, 2**-25, 1.5 * 2**-24, 6.1e-5, 2**-6, 2**-9, 2**-10, 1.5 * 2**-9, 2.5 * 2**-9, 447, 440, 432, 0.9999, 17, 19],
]).astype(np.float32)
values = values[np.abs(values) <= 448]
tensor = torch.from_numpy(values)
_, scale = compute_scale_zp_float8(TensorProto.FLOAT8E4M3FN, np.float32(1))
golden = {
    "bits": np.frombuffer(values.tobytes(), np.uint32).tolist(),
    "float16": np.frombuffer(tensor.half().numpy().tobytes(), np.uint16).tolist(),
    "bfloat16": tensor.bfloat16().view(torch.int16).numpy().astype(np.uint16).tolist(),
    "float8e4m3fn": tensor.to(torch.float8_e4m3fn).view(torch.uint8).numpy().tolist(),
    "float8ScaleOfUnitDeviation": float(scale),
}
with open("floats.json", "w") as file:
    json.dump(golden, file)
