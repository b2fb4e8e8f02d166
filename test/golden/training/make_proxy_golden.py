"""Golden values of zero-cost proxies, made with PyTorch in float64: python make_proxy_golden.py

Needs torch, onnx and numpy (made with torch 2.15, NumPy 2.4). Networks of the zoo with fresh weights (seed 1) are written as ONNX and run
here by PyTorch, with autograd for all gradients; the formulas follow the papers and SamsungLabs' zero-cost-nas. The batch is
samples 0 .. 15 of the example's calibration.npz.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BATCH = 16
COMMON = {"inputSize": 28, "inputChannels": 1}
NETWORKS = {
    "resnet": {"architecture": "resnet", "depth": 8, "width": 0.5},
    "densenet": {"architecture": "densenet", "depth": 10, "growthRate": 6},
    "squeezenet": {"architecture": "squeezenet", "version": "1.1", "width": 0.5},
    "mobilenet-v2": {"architecture": "mobilenet-v2", "width": 0.25, "depth": 0.5},
    "shufflenet-v2": {"architecture": "shufflenet-v2", "width": 0.25, "depth": 0.5},
    "mlp": {"architecture": "mlp", "depth": 2, "width": 32},
    # R of its synaptic flow is far beyond float32.
    "deep": {"architecture": "resnet", "depth": 110, "width": 0.25},
}
ONLY = {"deep": ["synflow"]}
EXPORT = """
import { buildArchitecture } from './src/zoo/build-architecture.ts';
import { encodeModel } from './src/onnx/codec/encode.ts';
import { writeFileSync } from 'node:fs';
writeFileSync(process.argv[1], encodeModel(buildArchitecture(JSON.parse(process.argv[2]), 1)));
"""


def export(request):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        subprocess.run(["npx", "tsx", "-e", EXPORT, file.name, json.dumps(request)], cwd=ROOT, check=True)
        return onnx.load(file.name).graph


class Network:
    """`normalize` false and `absolute` true: as synaptic flow wants it."""

    def __init__(self, graph, normalize=True, absolute=False):
        self.graph, self.normalize, self.linear = graph, normalize, absolute
        self.values = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
        for name, value in self.values.items():
            if value.is_floating_point():
                value = value.double()
                self.values[name] = value.abs() if absolute and value.dim() > 0 else value
        names = [n.input[1] for n in graph.node if n.op_type in ("Conv", "Gemm")]
        self.weights = [self.values[name].requires_grad_() for name in names]

    def __call__(self, x):
        v = dict(self.values) | {self.graph.input[0].name: x}
        self.rectified, self.layers = [], []
        for node in self.graph.node:
            a = {i.name: onnx.helper.get_attribute_value(i) for i in node.attribute}
            i = [v[name] for name in node.input if name]
            kind = node.op_type
            if kind == "Conv":
                assert a["pads"][:2] == a["pads"][2:]
                y = F.conv2d(*i, stride=a["strides"], padding=a["pads"][:2], groups=a.get("group", 1))
            elif kind == "BatchNormalization":
                y = F.batch_norm(i[0], None, None, i[1], i[2], training=True, eps=a["epsilon"]) if self.normalize else i[0]
            elif kind in ("Relu", "Clip"):
                self.rectified.append(i[0])
                y = i[0] if self.linear else i[0].relu() if kind == "Relu" else i[0].clamp(0, 6)
            elif kind == "Add":
                y = i[0] + i[1]
            elif kind == "Concat":
                y = torch.cat(i, a["axis"])
            elif kind == "MaxPool":
                assert a.get("pads", [0, 0, 0, 0])[:2] == a.get("pads", [0, 0, 0, 0])[2:]
                y = F.max_pool2d(
                    i[0], a["kernel_shape"], a["strides"], a.get("pads", [0, 0])[:2], ceil_mode=bool(a.get("ceil_mode", 0))
                )
            elif kind == "AveragePool":
                y = F.avg_pool2d(i[0], a["kernel_shape"], a["strides"], a.get("pads", [0, 0])[:2])
            elif kind == "GlobalAveragePool":
                y = i[0].mean((2, 3), keepdim=True)
            elif kind == "Flatten":
                y = i[0].flatten(1)
            elif kind == "Gemm":
                assert a["transB"] == 1
                y = F.linear(*i)
            elif kind == "Dropout":
                y = i[0]
            elif kind == "Reshape":
                y = i[0].reshape([size if size else i[0].shape[at] for at, size in enumerate(i[1].tolist())])
            elif kind == "Transpose":
                y = i[0].permute(a["perm"])
            elif kind == "Split":
                parts = i[1].tolist() if len(i) > 1 else i[0].shape[a["axis"]] // len(node.output)
                v.update(zip(node.output, i[0].split(parts, a["axis"])))
                continue
            else:
                raise ValueError(kind)
            v[node.output[0]] = y
            if kind in ("Conv", "Gemm"):
                self.layers.append(y)
        return v[self.graph.output[0].name]


def synflow(graph):
    network = Network(graph, normalize=False, absolute=True)
    total = network(torch.ones(1, 1, 28, 28).double()).sum()
    gradients = torch.autograd.grad(total, network.weights)
    return torch.log(sum((w * g).abs().sum() for w, g in zip(network.weights, gradients))).item()


def proxies(graph, x, labels):
    network = Network(graph)
    x = x.requires_grad_()
    scores = network(x)
    # NASWOT
    kernel = np.zeros((len(x), len(x)))
    for value in network.rectified:
        code = (value.flatten(1) > 0).double().detach().numpy()
        kernel += code @ code.T + (1 - code) @ (1 - code).T
    naswot = np.linalg.slogdet(kernel)[1]
    # jacob_cov
    jacobian = torch.autograd.grad(scores, x, torch.ones_like(scores), retain_graph=True)[0].flatten(1).numpy()
    v = np.linalg.eigvalsh(np.corrcoef(jacobian))
    jacob_cov = -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))
    # snip, grad_norm, fisher, grasp
    loss = F.cross_entropy(scores, labels)
    w = network.weights
    g = torch.autograd.grad(loss, w, create_graph=True)
    along = torch.autograd.grad(loss, network.layers, retain_graph=True)
    fisher = 0.0
    for a, d in zip(network.layers, along):
        product = a * d
        per_sample = product.sum((2, 3)) if product.dim() > 2 else product
        fisher += (per_sample.pow(2).mean(0) / 2).sum().item()
    flow = sum((one.detach() * one).sum() for one in g)
    hg = torch.autograd.grad(flow, w)
    return {
        "naswot": float(naswot),
        "jacob-cov": float(jacob_cov),
        "snip": sum((a * b).abs().sum() for a, b in zip(w, g)).item(),
        "grad-norm": sum(one.norm() for one in g).item(),
        "fisher": fisher,
        "grasp": sum((-a * b).sum() for a, b in zip(w, hg)).item(),
        # To judge the error of grasp by: its terms have both signs.
        "grasp-terms": sum((a * b).sum().abs() for a, b in zip(w, hg)).item(),
    }


data = np.load(ROOT / "examples" / "fashion-mnist" / "calibration.npz")
images = (torch.tensor(data["images"][:BATCH]).double() / 255 - 0.286) / 0.353
labels = torch.tensor(data["labels"][:BATCH])
golden = {}
for name, request in NETWORKS.items():
    request = request | COMMON
    graph = export(request)
    scores = {"synflow": synflow(graph)}
    if name not in ONLY:
        scores |= proxies(graph, images.clone(), labels)
    golden[name] = {"request": request, "scores": scores}
    print(name, scores)
(HERE / "proxies.json").write_text(json.dumps({"batch": BATCH, "networks": golden}))
