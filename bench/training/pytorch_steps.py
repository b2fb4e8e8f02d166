"""PyTorch's side of the comparison: as steps.ts, `pytorch_steps.py NETWORK THREADS LAYOUT`, with the same networks.

LAYOUT is `default` or `channels-last`. Needs the package torch; used by the benchmark only.
"""

import json
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def normalized(conv, activation=None):
    layers = [conv, nn.BatchNorm2d(conv.out_channels)]
    return nn.Sequential(*layers, *([activation] if activation else []))


def conv(inputs, outputs, kernel=3, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, pads_shortcut):
        super().__init__()
        self.first = normalized(conv(inputs, outputs, 3, stride), nn.ReLU(inplace=True))
        self.second = normalized(conv(outputs, outputs))
        self.stride = stride
        self.missing = outputs - inputs if pads_shortcut else 0
        changes = stride != 1 or inputs != outputs
        self.projection = normalized(conv(inputs, outputs, 1, stride)) if changes and not pads_shortcut else None

    def forward(self, x):
        shortcut = x
        if self.projection is not None:
            shortcut = self.projection(x)
        elif self.missing:
            half = self.missing // 2
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))
        return F.relu(self.second(self.first(x)) + shortcut)


def basic_stages(widths, blocks, pads_shortcut):
    layers, inputs = [], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks[stage]):
            layers.append(BasicBlock(inputs, width, 2 if stage > 0 and block == 0 else 1, pads_shortcut))
            inputs = width
    return layers


def cifar_resnet(depth):
    count = (depth - 2) // 6
    stem = normalized(conv(3, 16), nn.ReLU(inplace=True))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(stem, *basic_stages([16, 32, 64], [count] * 3, True), *head)


def resnet18():
    stem = [normalized(conv(3, 64, 7, 2), nn.ReLU(inplace=True)), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *basic_stages([64, 128, 256, 512], [2] * 4, False), *head)


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        layers = [normalized(conv(inputs, inner, 1), nn.ReLU6(inplace=True))] if expansion != 1 else []
        layers.append(normalized(conv(inner, inner, 3, stride, inner), nn.ReLU6(inplace=True)))
        self.layers = nn.Sequential(*layers, normalized(conv(inner, outputs, 1)))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.adds else self.layers(x)


def mobilenet_v2():
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers, inputs = [normalized(conv(3, 32, 3, 2), nn.ReLU6(inplace=True))], 32
    for expansion, width, count, stride in plan:
        for block in range(count):
            layers.append(InvertedResidual(inputs, width, stride if block == 0 else 1, expansion))
            inputs = width
    layers.append(normalized(conv(320, 1280, 1), nn.ReLU6(inplace=True)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))


NETWORKS = {
    "resnet20": (lambda: cifar_resnet(20), 128, 32, 10),
    "resnet56": (lambda: cifar_resnet(56), 128, 32, 10),
    "resnet18": (resnet18, 16, 224, 1000),
    "mobilenetv2": (mobilenet_v2, 16, 224, 1000),
}


def main():
    name, threads, layout = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    build, batch, size, classes = NETWORKS[name]
    memory_format = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    model = build().to(memory_format=memory_format).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(batch, 3, size, size).to(memory_format=memory_format)
    labels = torch.randint(0, classes, (batch,))
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps({"times": times, "peakMb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


main()
