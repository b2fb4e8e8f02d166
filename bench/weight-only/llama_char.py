"""Trains a small LLaMA-shaped network (RMSNorm, rotary positions, SwiGLU, no biases) to predict the next character, and writes
it as ONNX with calibration and evaluation tokens beside it.

    python llama_char.py OUTPUT_FOLDER [TEXT_FILE ...]

Without files, the text is the source of Python's standard library. Needs torch, onnx, numpy; about 3 minutes on a free core.
Writes llama.onnx (ids int64 [batch, 128] -> logits), calibration.npz and evaluation.npz (ids, targets int64 [n, 128]).
"""

import glob
import math
import os
import sys
import time

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 128, 4, 4, 352, 128
STEPS, BATCH = int(os.environ.get("STEPS", "2500")), int(os.environ.get("BATCH", "16"))
RATE, SEED = 3e-3, 0
EPSILON = 1e-5


def read_text(paths):
    if not paths:
        paths = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))
    text = "".join(open(path, encoding="utf-8", errors="ignore").read() for path in paths)
    return "".join(c for c in text if c == "\n" or 32 <= ord(c) < 127)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self.gain


def rotary_tables():
    size = WIDTH // HEADS
    angle = np.outer(np.arange(CONTEXT), 10000.0 ** (-np.arange(0, size, 2) / size))
    table = np.concatenate([angle, angle], axis=1)
    return np.cos(table).astype(np.float32), np.sin(table).astype(np.float32)


COS, SIN = rotary_tables()


def rotate(x):
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * torch.from_numpy(COS)[: x.shape[-2]] + turned * torch.from_numpy(SIN)[: x.shape[-2]]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        linear = lambda a, b: nn.Linear(a, b, bias=False)
        self.q, self.k, self.v, self.o = (linear(WIDTH, WIDTH) for _ in range(4))
        self.gate, self.up, self.down = linear(WIDTH, HIDDEN), linear(WIDTH, HIDDEN), linear(HIDDEN, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        h = self.norm1(x)
        q, k, v = (m(h).view(b, t, HEADS, -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        a = nn.functional.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, WIDTH))
        h = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = Norm()
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def windows(tokens, rng, count):
    starts = rng.integers(0, len(tokens) - CONTEXT - 1, count)
    ids = np.stack([tokens[s : s + CONTEXT] for s in starts])
    return ids, np.stack([tokens[s + 1 : s + CONTEXT + 1] for s in starts])


def train(tokens, vocabulary):
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = Llama(vocabulary)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    start, mean = time.time(), 0.0
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
        ids, targets = windows(tokens, rng, BATCH)
        loss = nn.functional.cross_entropy(model(torch.from_numpy(ids)).flatten(0, 1), torch.from_numpy(targets).flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {mean:.4f}, {time.time() - start:.0f} s", flush=True)
    return model.eval()


class Graph:
    """Writes nodes; names of MatMuls are those of the modules."""

    def __init__(self):
        self.nodes, self.tensors, self.count = [], [], 0

    def constant(self, name, array):
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind, inputs, name=None, **attributes):
        self.count += 1
        name = name or f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def linear(self, x, module, name):
        return self.op("MatMul", [x, self.constant(f"{name}.weight", module.weight.detach().numpy().T)], name=name)

    def norm(self, x, module, name):
        mean = self.op("ReduceMean", [self.op("Mul", [x, x]), "last"], keepdims=1)
        root = self.op("Sqrt", [self.op("Add", [mean, "epsilon"])])
        return self.op("Mul", [self.op("Div", [x, root]), self.constant(f"{name}.gain", module.gain.detach().numpy())], name=name)


def export(model, vocabulary, path):
    g = Graph()
    half = WIDTH // HEADS // 2
    g.constant("last", np.array([-1]))
    g.constant("epsilon", np.float32(EPSILON))
    g.constant("heads", np.array([0, CONTEXT, HEADS, WIDTH // HEADS]))
    g.constant("whole", np.array([0, CONTEXT, WIDTH]))
    g.constant("cos", COS)
    g.constant("sin", SIN)
    g.constant("scale", np.float32(1 / math.sqrt(WIDTH // HEADS)))
    g.constant("mask", np.triu(np.full((CONTEXT, CONTEXT), -1e9, dtype=np.float32), 1))
    g.constant("halves", np.array([half, half]))

    def turned(x, name):
        g.nodes.append(helper.make_node("Split", [x, "halves"], [f"{name}_a", f"{name}_b"], axis=-1, name=f"{name}_split"))
        swapped = g.op("Concat", [g.op("Neg", [f"{name}_b"]), f"{name}_a"], axis=-1)
        return g.op("Add", [g.op("Mul", [x, "cos"]), g.op("Mul", [swapped, "sin"])])

    x = g.op("Gather", [g.constant("embed.weight", model.embed.weight.detach().numpy()), "ids"], name="embed")
    for i, block in enumerate(model.blocks):
        h = g.norm(x, block.norm1, f"{i}.norm1")
        q, k, v = (
            g.op("Transpose", [g.op("Reshape", [g.linear(h, m, f"{i}.{n}"), "heads"])], perm=[0, 2, 1, 3])
            for n, m in (("q", block.q), ("k", block.k), ("v", block.v))
        )
        keys = g.op("Transpose", [turned(k, f"{i}.k")], perm=[0, 1, 3, 2])
        scores = g.op("Mul", [g.op("MatMul", [turned(q, f"{i}.q"), keys], name=f"{i}.scores"), "scale"])
        weights = g.op("Softmax", [g.op("Add", [scores, "mask"])], axis=-1)
        mixed = g.op("Transpose", [g.op("MatMul", [weights, v], name=f"{i}.mix")], perm=[0, 2, 1, 3])
        x = g.op("Add", [x, g.linear(g.op("Reshape", [mixed, "whole"]), block.o, f"{i}.o")])
        h = g.norm(x, block.norm2, f"{i}.norm2")
        gate = g.linear(h, block.gate, f"{i}.gate")
        silu = g.op("Mul", [gate, g.op("Sigmoid", [gate])])
        hidden = g.op("Mul", [silu, g.linear(h, block.up, f"{i}.up")])
        x = g.op("Add", [x, g.linear(hidden, block.down, f"{i}.down")])
    logits = g.linear(g.norm(x, model.norm, "norm"), model.head, "head")
    g.nodes[-1].output[0] = "logits"
    assert logits == "head_out"
    graph = helper.make_graph(
        g.nodes, "llama",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", CONTEXT])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CONTEXT, vocabulary])],
        g.tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def main():
    folder, *texts = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    text = read_text(texts)
    characters = sorted(set(text))
    tokens = np.searchsorted(np.array(characters), np.array(list(text))).astype(np.int64)
    split = int(len(tokens) * 0.9)
    print(f"{len(tokens)} characters, {len(characters)} different", flush=True)
    model = train(tokens[:split], len(characters))
    export(model, len(characters), os.path.join(folder, "llama.onnx"))
    rng = np.random.default_rng(1)
    for name, part, count in (("calibration", tokens[:split], 64), ("evaluation", tokens[split:], 512)):
        ids, targets = windows(part, rng, count)
        np.savez(os.path.join(folder, f"{name}.npz"), ids=ids, targets=targets)
    ids, targets = windows(tokens[split:], np.random.default_rng(2), 8)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(os.path.join(folder, "llama.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {"ids": ids})[0]
    print("export differs by at most", np.abs(got - expected).max())


main()
