"""Quantizes llama.onnx with ONNX Runtime's own weight-only quantizers, blocks of 32, 4 bits: files for `compare`.

    python onnxruntime_files.py FOLDER

Needs onnxruntime, onnx, onnx_ir, torch (HQQ).
"""

import os
import sys

import onnx
from onnxruntime.quantization import matmul_nbits_quantizer as nbits

folder = sys.argv[1]
CONFIGS = {
    "default": nbits.DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=False),
    "default-symmetric": nbits.DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True),
    "k-quant": nbits.KQuantWeightOnlyQuantConfig(),
    "hqq": nbits.HQQWeightOnlyQuantConfig(block_size=32, bits=4),
}
for name, config in CONFIGS.items():
    model = onnx.load(os.path.join(folder, "llama.onnx"))
    quantizer = nbits.MatMulNBitsQuantizer(model, block_size=32, algo_config=config)
    try:
        quantizer.process()
    except Exception as error:
        print(f"{name}: fails: {error}")
        continue
    quantizer.model.save_model_to_file(os.path.join(folder, f"onnxruntime-{name}.onnx"))
    print(name)
