from __future__ import annotations

import torch
from torch import nn

from training.ema import MovingAverage


def test_the_average_follows_its_formula() -> None:
    encoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = MovingAverage(encoder, 0.75)
    expected = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(torch.randn_like(parameter))
        encoder(torch.randn(4, 2))  # moves the statistics and the counter
        average.update(encoder)
        for name, tensor in encoder.state_dict().items():
            counter = not tensor.is_floating_point()
            expected[name] = tensor.clone() if counter else 0.75 * expected[name] + 0.25 * tensor
    for name, tensor in average.encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not any(parameter.requires_grad for parameter in average.encoder.parameters())
