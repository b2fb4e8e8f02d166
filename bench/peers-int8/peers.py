"""Quantizes one model with another tool and prints one line of JSON: seconds and peak memory, or why it fails.

    python peers.py TOOL IN.onnx OUT.onnx IMAGES.npz SAMPLES MEAN STD BATCH

TOOL is ort, ort-rr, ort-dynamic, nncf (onnxruntime, onnx, nncf) or inc (neural-compressor 2.6, which needs Python 3.10 and the
versions in README.md). Everything is left at the tool's default but what its documentation tells everybody to set: the model
is preprocessed before ONNX Runtime quantizes it, uint8 activations and one scale an output channel. MEAN and STD are lists with commas.
"""

import contextlib
import json
import os
import resource
import sys
import tempfile
import time

import numpy
import onnx

tool, source, target, images, samples, mean, std, batch = sys.argv[1:]
samples, batch = int(samples), int(batch)


def numbers(text):
    return numpy.array([float(one) for one in text.split(",")], numpy.float32)[:, None, None]


def batches():
    pixels = numpy.load(images)["images"][:samples]
    for start in range(0, len(pixels) - batch + 1, batch):
        yield ((pixels[start : start + batch].astype(numpy.float32) / 255 - numbers(mean)) / numbers(std)).astype(numpy.float32)


model = onnx.load(source)
initializers = {tensor.name for tensor in model.graph.initializer}
name = next(value.name for value in model.graph.input if value.name not in initializers)


def onnxruntime_tool():
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = batches()

        def get_next(self):
            found = next(self.left, None)
            return None if found is None else {name: found}

    with tempfile.TemporaryDirectory() as folder:
        prepared = os.path.join(folder, "prepared.onnx")
        quant_pre_process(source, prepared)
        if tool == "ort-dynamic":
            quantize_dynamic(prepared, target, per_channel=True)
        else:
            quantize_static(
                prepared,
                target,
                Reader(),
                per_channel=True,
                reduce_range=tool == "ort-rr",
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )


def nncf_tool():
    import nncf

    data = nncf.Dataset(list(batches()), lambda found: {name: found})
    onnx.save(nncf.quantize(model, data, subset_size=samples // batch), target)


def inc_tool():
    from neural_compressor import PostTrainingQuantConfig, quantization

    class Loader:
        batch_size = batch

        def __iter__(self):
            return ((found, 0) for found in batches())

    # It fails at optional inputs that are left out by an empty name.
    for node in model.graph.node:
        while node.input and node.input[-1] == "":
            node.input.pop()
    config = PostTrainingQuantConfig(approach="static", calibration_sampling_size=[samples])
    found = quantization.fit(model, config, calib_dataloader=Loader())
    if found is None:
        raise RuntimeError("gives no model")
    found.save(target)


RUN = {"ort": onnxruntime_tool, "ort-rr": onnxruntime_tool, "ort-dynamic": onnxruntime_tool, "nncf": nncf_tool, "inc": inc_tool}
started = time.time()
result = {}
try:
    # Some leave files where they run.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
        with contextlib.redirect_stdout(sys.stderr):
            RUN[tool]()
except Exception as error:  # any failure of a tool is its result
    result["error"] = f"{type(error).__name__}: {error}"[:300]
result["seconds"] = time.time() - started
result["peakBytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(result))
