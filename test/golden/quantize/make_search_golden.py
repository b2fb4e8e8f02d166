"""Writes search.json: single blocks as ONNX Runtime's k-quant and HQQ quantizers leave them.

python make_search_golden.py (onnxruntime 1.32, torch, numpy). HQQ is given one block at a time: it stops for all blocks of a matrix at once.
"""

import json

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import HQQWeightOnlyQuantConfig, HQQWeightOnlyQuantizer
from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu

hqq = HQQWeightOnlyQuantizer(HQQWeightOnlyQuantConfig(block_size=32, bits=4))
cases = []
for seed in range(6):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, 32).astype(np.float32)
    if seed >= 3:
        values[5] = 1.5 * (-1) ** seed  # an outlier
    codes, scale, zero = quant_tensor_k_quant_cpu(values.copy(), 4, 32)
    restored = ((codes - zero.astype(np.float64)) * scale).ravel()
    weights = np.sqrt(np.mean(values**2)) + np.abs(values)
    low, high = values.min(), values.max()
    reciprocal = torch.tensor([[15.0 / (high - low)]])
    start = torch.tensor([[-low]]) * reciprocal
    found_scale, found_zero = hqq.optimize_weights(torch.from_numpy(values)[None], reciprocal, start, [0, 15], axis=1)
    cases.append({
        "values": [float(v) for v in values],
        "kQuantError": float(np.sum(weights * (values - restored) ** 2)),
        "hqqScale": float(1 / found_scale), "hqqZero": float(found_zero),
    })
with open("search.json", "w") as file:
    json.dump({"source": f"onnxruntime {onnxruntime.__version__}", "cases": cases}, file)
