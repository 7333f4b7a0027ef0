from __future__ import annotations

import torch
from torch.nn import functional

from training.losses.center import Center, class_means, tightness_around
from training.losses.classifiers import LinearClassifier

FEATURES = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
LABELS = torch.tensor([0, 0, 2])


def test_the_parts_are_those_of_table_2() -> None:
    criterion = Center(LinearClassifier(2, 3, 0.0), weight=0.5, centre_rate=0.5)
    torch.nn.init.normal_(criterion.classifier.linear.weight)
    parts = criterion(FEATURES, LABELS)
    assert float(parts.tightness) == 0.5 * 0.5 * (1 + 1)  # around the means (2, 0) and (0, 5)
    torch.testing.assert_close(parts.contrast, functional.cross_entropy(criterion.classifier(FEATURES), LABELS))


def test_centres_follow_their_classes() -> None:
    criterion = Center(LinearClassifier(2, 3, 0.0), weight=1.0, centre_rate=0.5)
    criterion(FEATURES, LABELS)
    assert criterion.centres.tolist() == [[2, 0], [0, 0], [0, 5]]  # each class's first mean; 1 has none yet
    criterion(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))
    assert criterion.centres.tolist() == [[2 + 0.5 * 3 / 2, 0], [0, 0], [0, 5]]
    criterion.eval()(torch.tensor([[9.0, 9.0]]), torch.tensor([1]))
    assert criterion.centres[1].tolist() == [0, 0]
    assert set(criterion.state_dict()) >= {"centres", "known"}  # a checkpoint has them


def test_gradients_and_means() -> None:
    z = FEATURES.double().requires_grad_()
    means = class_means(FEATURES, LABELS, 3)
    assert means.tolist() == [[2, 0], [0, 0], [0, 5]]
    assert torch.autograd.gradcheck(lambda x: tightness_around(x, LABELS, means.double()), (z,))
