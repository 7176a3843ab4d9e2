"""Networks that name their tensors as the published code bases do, written for the tests."""

from itertools import pairwise

import timm
import torch
from torch import nn

from gcp_repro.linalg import upper_triangle
from gcp_repro.models import AlexNetBN

CLASSES = 3


class Foreign(nn.Module):
    """`features`, `representation` with a reduction, the root of the covariance in float64, `classifier`."""

    def __init__(self, features, channels, reduce_dim, classifier):
        super().__init__()
        self.features = features
        self.representation = nn.Module()
        self.representation.conv_dr_block = reduction(channels, reduce_dim)
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(root(self.representation.conv_dr_block(self.features(images))))


class Named(nn.Module):
    """The parts of a ResNet under their own names, the last stage at stride 1."""

    def __init__(self, reduce_dim):
        super().__init__()
        parts = resnet()
        for block in parts["layer4"].modules():
            if isinstance(block, nn.Conv2d) and block.stride == (2, 2):
                block.stride = (1, 1)
        for name, part in parts.items():
            self.add_module(name, part)
        self.layer_reduce, self.layer_reduce_bn, _ = reduction(2048, reduce_dim)
        self.fc = nn.Linear(reduce_dim * (reduce_dim + 1) // 2, CLASSES)
        self.stem = [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]

    def forward(self, images):
        x = self.stem[1](self.stem[0](self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(root(self.layer_reduce_bn(self.layer_reduce(x)).relu()))


def resnet():
    """Children of a ResNet-50 that have weights."""
    network = timm.create_model("resnet50", num_classes=0)
    return {name: getattr(network, name) for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")}


def foreign_resnet(reduce_dim=8):
    conv1, bn1, *stages = resnet().values()
    features = nn.Sequential(conv1, bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1), *stages)
    return prepared(Foreign(features, 2048, reduce_dim, nn.Linear(reduce_dim * (reduce_dim + 1) // 2, CLASSES)))


def foreign_alexnet(reduce_dim=8, hidden=6):
    sizes = (reduce_dim * (reduce_dim + 1) // 2, hidden, hidden, CLASSES)
    first, second, last = (nn.Linear(*pair) for pair in pairwise(sizes))
    classifier = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    return prepared(Foreign(AlexNetBN().features, 256, reduce_dim, classifier))


def named_resnet(reduce_dim=8):
    return prepared(Named(reduce_dim))


def reduction(channels, reduce_dim):
    return nn.Sequential(nn.Conv2d(channels, reduce_dim, 1, bias=False), nn.BatchNorm2d(reduce_dim), nn.ReLU())


def root(features):
    """Upper triangle of the square root of the covariance."""
    x = features.flatten(2).double()
    x = x - x.mean(-1, keepdim=True)
    values, vectors = torch.linalg.eigh(x @ x.mT / x.shape[-1])
    return upper_triangle(vectors * values.clamp(min=0).sqrt().unsqueeze(-2) @ vectors.mT).float()


def prepared(network):
    """In evaluation mode, with statistics and scales that leave no batch norm an identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()
