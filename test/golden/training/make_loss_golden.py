"""Golden values of the distillation losses, made with PyTorch in float64: python make_loss_golden.py

Needs torch (made with torch 2.15). Each loss is written here from its paper's formula, as RepDistiller (kd, at, sp, fitnet,
rkd, cc, vid, pkt) and mdistiller (dkd) have it; crd is the contrastive loss over a batch, both ways. Inputs and adapter weights are
numbers that float32 holds exactly: value i of a tensor is ((37 i + offset) mod 101 - 50) / scale.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)


def tensor(shape, offset, scale=32):
    count = int(torch.tensor(shape).prod())
    return (((37 * torch.arange(count) + offset) % 101 - 50).double() / scale).reshape(shape)


def rkd(s, t):
    def distances(e):
        square = e.pow(2).sum(1)
        d = (square[:, None] + square[None, :] - 2 * e @ e.t()).clamp(min=1e-12).sqrt()
        d = d * (1 - torch.eye(len(e)))
        return d / d[d > 0].mean()

    def angles(e):
        unit = F.normalize(e[None] - e[:, None], p=2, dim=2)
        return (unit @ unit.transpose(1, 2)).flatten()

    return 25 * F.smooth_l1_loss(distances(s), distances(t)) + 50 * F.smooth_l1_loss(angles(s), angles(t))


def pkt(s, t, eps=1e-7):
    def neighbours(e):
        e = e / (e.pow(2).sum(1, keepdim=True).sqrt() + eps)
        p = (e @ e.t() + 1) / 2
        return p / p.sum(1, keepdim=True)

    p, q = neighbours(t), neighbours(s)
    return (p * ((p + eps) / (q + eps)).log()).mean()


def cc(s, t, w):
    delta = (F.linear(s, w["cc_student.weight"], w["cc_student.bias"]) - F.linear(t, w["cc_teacher.weight"], w["cc_teacher.bias"])).abs()
    return (delta[:-1] * delta[1:]).sum(1).mean()


def crd(s, t, w, labels):
    s = F.normalize(F.linear(s, w["crd_student.weight"], w["crd_student.bias"]))
    t = F.normalize(F.linear(t, w["crd_teacher.weight"], w["crd_teacher.bias"]))
    same = (labels[:, None] == labels[None, :]) & ~torch.eye(len(labels), dtype=torch.bool)
    logits = (s @ t.t() / 0.07).masked_fill(same, -torch.inf)
    own = torch.arange(len(labels))
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)


def fitnet(s, t, w):
    return F.mse_loss(F.conv2d(s, w["hint_regressor.weight"]), F.adaptive_avg_pool2d(t, s.shape[2:]))


def vid(s, t, w, eps=1e-5):
    t = F.adaptive_avg_pool2d(t, s.shape[2:])
    mean = s
    for i in range(3):
        mean = F.conv2d(mean, w[f"vid_regressor.{i}.weight"])
        mean = mean if i == 2 else mean.relu()
    variance = (1 + w["vid_log_scale"].exp()).log() + eps
    return (0.5 * ((mean - t).pow(2) / variance + variance.log())).mean()


def at(s, t):
    def attention(f):
        return F.normalize(f.pow(2).mean(1).flatten(1))

    return (attention(s) - attention(F.adaptive_avg_pool2d(t, s.shape[2:]))).pow(2).mean()


def sp(s, t):
    def similarities(f):
        return F.normalize(f.flatten(1) @ f.flatten(1).t())

    return (similarities(s) - similarities(t)).pow(2).sum() / len(s) ** 2


def kd(s, t, temperature=4):
    return F.kl_div(F.log_softmax(s / temperature, 1), F.softmax(t / temperature, 1), reduction="batchmean") * temperature**2


def dkd(s, t, labels, alpha=1, beta=8, temperature=4):
    hot = F.one_hot(labels, s.shape[1]).double()

    def binary(z):
        p = (F.softmax(z / temperature, 1) * hot).sum(1, keepdim=True)
        return torch.cat([p, 1 - p], 1)

    def others(z):
        return F.log_softmax(z / temperature - 1000 * hot, 1)

    target = F.kl_div(binary(s).log(), binary(t), reduction="batchmean")
    rest = F.kl_div(others(s), others(t).exp(), reduction="batchmean")
    return (alpha * target + beta * rest) * temperature**2


LABELS = torch.tensor([0, 1, 0, 2])
VECTORS = dict(student=([4, 6], 11), teacher=([4, 5], 3))
MAPS = dict(student=([4, 3, 2, 2], 11), teacher=([4, 5, 4, 4], 3))
LOGITS = dict(student=([4, 5], 11), teacher=([4, 5], 30))
CASES = {
    "kd": (LOGITS, {}, kd),
    "dkd": (LOGITS, {}, lambda s, t: dkd(s, t, LABELS)),
    "at": (MAPS, {}, at),
    "sp": (MAPS, {}, sp),
    "rkd": (VECTORS, {}, rkd),
    "pkt": (VECTORS, {}, pkt),
    "cc": (VECTORS, {"cc_student.weight": [128, 6], "cc_student.bias": [128], "cc_teacher.weight": [128, 5], "cc_teacher.bias": [128]}, cc),
    "crd": (
        VECTORS,
        {"crd_student.weight": [128, 6], "crd_student.bias": [128], "crd_teacher.weight": [128, 5], "crd_teacher.bias": [128]},
        lambda s, t, w: crd(s, t, w, LABELS),
    ),
    "fitnet": (MAPS, {"hint_regressor.weight": [5, 3, 1, 1]}, fitnet),
    "vid": (
        MAPS,
        {"vid_regressor.0.weight": [5, 3, 1, 1], "vid_regressor.1.weight": [5, 5, 1, 1], "vid_regressor.2.weight": [5, 5, 1, 1], "vid_log_scale": [1, 5, 1, 1]},
        vid,
    ),
}


def golden(inputs, weights, loss):
    s = tensor(*inputs["student"]).requires_grad_()
    t = tensor(*inputs["teacher"])
    w = {name: tensor(shape, 7 * (i + 1)).requires_grad_() for i, (name, shape) in enumerate(weights.items())}
    value = loss(s, t, w) if w else loss(s, t)
    value.backward()
    digits = lambda x: [float(f"{v:.9g}") for v in x.flatten().tolist()]
    return {
        "student": inputs["student"],
        "teacher": inputs["teacher"],
        "value": float(f"{value.item():.10g}"),
        "gradient": digits(s.grad),
        "weights": {n: {"shape": weights[n], "offset": 7 * (i + 1), "gradientNorm": float(f"{w[n].grad.norm():.9g}")} for i, n in enumerate(w)},
    }


path = Path(__file__).parent / "losses.json"
path.write_text(json.dumps({"labels": LABELS.tolist(), "scale": 32, "losses": {n: golden(*c) for n, c in CASES.items()}}) + "\n")
