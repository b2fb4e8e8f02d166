"""Golden values of training, made with PyTorch in float64: python make_golden.py

Needs torch, onnx and numpy (made with torch 2.15). Runs the example network (examples/fashion-mnist) for a few steps in
several settings; step k takes samples 32k .. 32k+31 of calibration.npz in file order, without augmentation. Of tensors with more than
SMALL elements every STRIDE-th is kept.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples" / "fashion-mnist"
BATCH, STEPS, STRIDE, SMALL = 32, 5, 101, 64

RUNS = {
    "sgd": dict(optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4)),
    "nesterov-label-smoothing": dict(
        optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True), smoothing=0.1
    ),
    "adam-clipped": dict(optimizer=lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-3), clip=0.5),
    "adamw": dict(optimizer=lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=1e-2)),
    "frozen-normalization": dict(optimizer=lambda p: torch.optim.SGD(p, 0.01, momentum=0.9), frozen=True),
    "class-weights": dict(
        optimizer=lambda p: torch.optim.SGD(p, 0.05), weights=[0.5, 1, 1, 2, 1, 1, 3, 1, 1, 0.25], smoothing=0.1
    ),
}


class Network:
    def __init__(self):
        self.graph = onnx.load(HERE.parents[1] / "fixtures" / "onnx" / "pytorch-resnet8.onnx").graph
        self.values = {t.name: torch.tensor(numpy_helper.to_array(t)).double() for t in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Identity":
                self.values[node.output[0]] = self.values[node.input[0]].clone()
        self.statistics = {n for n in self.values if "running" in n}
        self.parameters = {n: v.requires_grad_() for n, v in self.values.items() if n not in self.statistics}

    def __call__(self, x, frozen):
        v = dict(self.values) | {self.graph.input[0].name: x}
        for node in self.graph.node:
            a = {i.name: onnx.helper.get_attribute_value(i) for i in node.attribute}
            i = [v[name] for name in node.input]
            if node.op_type == "Identity":
                continue
            if node.op_type == "Conv":
                y = F.conv2d(*i, stride=a["strides"], padding=a["pads"][:2])
            elif node.op_type == "BatchNormalization":
                y = F.batch_norm(i[0], i[3], i[4], i[1], i[2], training=not frozen, momentum=0.1, eps=1e-5)
            elif node.op_type == "Relu":
                y = i[0].relu()
            elif node.op_type == "Add":
                y = i[0] + i[1]
            elif node.op_type == "GlobalAveragePool":
                y = i[0].mean((2, 3), keepdim=True)
            elif node.op_type == "Flatten":
                y = i[0].flatten(1)
            elif node.op_type == "Gemm":
                y = F.linear(*i)
            else:
                raise ValueError(node.op_type)
            v[node.output[0]] = y
        return v[self.graph.output[0].name]


def sample(tensor):
    flat = tensor.detach().flatten()
    return [float(f"{x:.7g}") for x in flat[:: STRIDE if len(flat) > SMALL else 1].tolist()]


def run(optimizer, smoothing=0.0, weights=None, clip=None, frozen=False):
    data = np.load(EXAMPLE / "calibration.npz")
    images = (torch.tensor(data["images"]).double() / 255 - 0.286) / 0.353
    labels = torch.tensor(data["labels"])
    network = Network()
    optimize = optimizer(list(network.parameters.values()))
    weight = None if weights is None else torch.tensor(weights).double()
    losses, first = [], {}
    for step in range(STEPS):
        part = slice(BATCH * step, BATCH * (step + 1))
        optimize.zero_grad()
        loss = F.cross_entropy(network(images[part], frozen), labels[part], weight=weight, label_smoothing=smoothing)
        loss.backward()
        if step == 0:
            first = {n: sample(p.grad) for n, p in network.parameters.items()}
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(network.parameters.values()), clip)
        optimize.step()
        losses.append(loss.item())
    return {"losses": losses, "gradients": first, "final": {n: sample(t) for n, t in network.values.items()}}


(HERE / "golden.json").write_text(
    json.dumps({"batch": BATCH, "steps": STEPS, "stride": STRIDE, "small": SMALL, "runs": {n: run(**r) for n, r in RUNS.items()}})
)
