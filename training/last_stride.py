"""The last downsampling of a CNN taken out: its feature map is twice as wide and high (arXiv 1903.07071, section 3.5).

Weights stay as they are. What may change here: more architectures. What may not: one whose last stride is not known is
refused, never left as it was.
"""

from __future__ import annotations

from torch import nn

from index.errors import UsageError


def remove_last_stride(network: nn.Module, name: str) -> None:
    """Change timm's network `name` in place. Raises UsageError where its architecture has no such stride."""
    stage = _last_strided_stage(network)
    if stage is None or any(_is_strided(module) and not _can_change(module) for module in stage.modules()):
        raise UsageError(
            "this architecture's last stride can not be changed",
            where="model.last_stride",
            expected="2, or a ResNet or EfficientNet",
            found=f"1 for {name}",
        )
    for parent in list(stage.modules()):
        for key, module in list(parent.named_children()):
            if isinstance(module, nn.AvgPool2d) and _is_strided(module):  # of a ResNet-D's short cut
                setattr(parent, key, nn.Identity())
            elif isinstance(module, nn.Conv2d) and _is_strided(module):
                module.stride = (1, 1)


def _last_strided_stage(network: nn.Module) -> nn.Module | None:
    """ResNets' `layer4`, or the last of EfficientNets' `blocks` with a stride; timm's names."""
    for name in ("layer4", "blocks"):
        stages = getattr(network, name, None)
        if not isinstance(stages, nn.Module):
            continue
        parts = [stages] if name == "layer4" else list(stages.children())
        strided = [part for part in parts if any(_is_strided(module) for module in part.modules())]
        if strided:
            return strided[-1]
    return None


def _is_strided(module: nn.Module) -> bool:
    """Whether it makes a map smaller; timm's blocks carry a number `stride` that does nothing."""
    if any(True for _ in module.children()):
        return False
    return getattr(module, "stride", 1) in (2, (2, 2))


def _can_change(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.AvgPool2d)
