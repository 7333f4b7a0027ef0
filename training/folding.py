"""Frozen BatchNorm folded into the convolution before it while a model trains: one pass over the activations fewer.

With fixed statistics BatchNorm is y = a x + b, with a = weight / sqrt(variance + eps), and a conv(x, W) = conv(x, a W).
The folded weights are computed from W, weight and bias in every step, so gradients reach all three as before, at the
cost of a few small tensors.

What may change here: more kinds of layers. What may not: outside the `with` block the network is untouched, so that
copies and exports are of the network as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional

_CLOSE = 1e-3  # of the largest feature: folded against unfolded, in float32


class Pair(NamedTuple):
    """A convolution whose output goes into a BatchNorm."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d


def find_pairs(network: nn.Module, run: Callable[[], Tensor]) -> tuple[Pair, ...]:
    """The pairs that can be folded, from watching `run`, which runs the network once in evaluation mode.

    None where folding changes the result: where an output goes into a BatchNorm and elsewhere too.
    """
    makers: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # alive, so that no identity is used twice
    pairs: list[Pair] = []

    def after(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        makers[id(output)] = module  # type: ignore[assignment]
        kept.append(output)

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in makers:
            pairs.append(Pair(makers.pop(id(inputs[0])), module))  # type: ignore[arg-type]

    hooks = [module.register_forward_hook(after) for module in network.modules() if type(module) in _CONVOLUTIONS]
    hooks += [module.register_forward_pre_hook(before) for module in network.modules() if type(module) in _NORMS]
    try:
        with torch.no_grad():
            expected = run()
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad(), folded(pairs):
        found = run()
    close = (found - expected).abs().max() <= _CLOSE * expected.abs().max()
    return tuple(pairs) if close else ()


@contextmanager
def folded(pairs: Sequence[Pair]) -> Iterator[None]:
    """Within it, the pairs' convolutions do the norms' work."""
    for convolution, norm in pairs:
        vars(convolution)["forward"] = _fold(convolution, norm)  # hides the class's, in this instance
        vars(norm)["forward"] = _activate(norm)
    try:
        yield
    finally:
        for module in (module for pair in pairs for module in pair):
            del vars(module)["forward"]


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    convolve = _CONVOLUTIONS[type(convolution)]

    def forward(x: Tensor) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (c,)
        shift = norm.bias - norm.running_mean * scale
        if convolution.bias is not None:
            shift = shift + convolution.bias * scale
        return convolve(convolution, x, convolution.weight * scale[:, None, None, None], shift)

    return forward


def _activate(norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """What timm's layer does after the norm."""
    if isinstance(norm, BatchNormAct2d):
        return lambda x: norm.act(norm.drop(x))
    return lambda x: x


def _same(convolution: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    c: Any = convolution
    output: Tensor = conv2d_same(x, weight, bias, c.stride, c.padding, c.dilation, c.groups)
    return output


def _plain(convolution: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    c = convolution
    return functional.conv2d(x, weight, bias, c.stride, c.padding, c.dilation, c.groups)


_Convolve = Callable[[nn.Conv2d, Tensor, Tensor, Tensor], Tensor]
_CONVOLUTIONS: dict[type, _Convolve] = {nn.Conv2d: _plain, Conv2dSame: _same}
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
