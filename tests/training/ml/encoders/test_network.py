"""The losses of heads."""

import pytest
import torch

from slmstudio.contract.schema.compiled import compile_schema
from training.encoders.heads import plan_heads
from training.ml.encoders.network import IGNORED, DecisionHead, EncoderWithHeads

STATES, INNER = torch.zeros(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)


def losses_at(head: DecisionHead, score: float, absent: float | None) -> list[float]:
    """The loss of each class where the network gives these scores, in nats."""
    with torch.no_grad():
        head.gaps.fill_(1.0)  # at first, the ends of a scale are as likely as their neighbors
        head.scores.bias.copy_(torch.tensor([score] if absent is None else [score, absent]))
    scores = head.eval()(STATES, INNER)
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-5)
    return [torch.nn.functional.cross_entropy(scores, torch.tensor([label])).item() for label in range(scores.shape[1])]


def test_the_loss_of_a_scale_grows_with_the_distance_to_gold() -> None:
    head = DecisionHead(4, 5, ordered=True)
    low, high = losses_at(head, -4.0, None), losses_at(head, 4.0, None)
    assert low == sorted(low)
    assert high == sorted(high, reverse=True)
    middle = losses_at(head, 1.3, None)
    assert middle[2] == min(middle)


def test_a_value_of_a_scale_that_is_absent_says_nothing_of_the_others() -> None:
    head = DecisionHead(4, 6, ordered=True, optional=True)
    present, absent = losses_at(head, 4.0, -9.0), losses_at(head, 4.0, 9.0)
    assert present[0] > 5 > absent[0]
    assert present[1:] == sorted(present[1:], reverse=True)
    shares = [[loss - losses[5] for loss in losses[1:]] for losses in (present, absent)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_a_scale_is_learned() -> None:
    schema = {"type": "object", "properties": {"mood": {"enum": [1, 2, 3, 4]}}}
    [plan] = plan_heads(compile_schema(schema)).heads
    encoder = torch.nn.Identity()
    encoder.config = type("Config", (), {"hidden_size": 2})
    network = EncoderWithHeads(encoder, [plan], {}).eval()
    [head] = network.decision_heads
    # a state for each value from absent to 4, and one without gold
    states = torch.tensor([[5.0, 0], [0, -3], [0, -1], [0, 1], [0, 3], [9, 9]]).unsqueeze(1)
    inner, gold = torch.ones(6, 1, dtype=torch.bool), torch.tensor([0, 1, 2, 3, 4, IGNORED])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(150):
        losses = network.losses({"decision.0": head(states, inner)}, {"decision.0": gold})
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    assert losses[5].item() == 0
    assert head(states, inner).argmax(1)[:5].tolist() == [0, 1, 2, 3, 4]
