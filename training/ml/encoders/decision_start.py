"""Decision heads start as the best linear classifier of what the encoder gives before it is trained.

With few labels by class a head that starts from random weights pulls the encoder away from what it learned in its
pretraining before it classifies (Kumar et al. 2022, arXiv:2202.10054: first the head, then all weights).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.encoders.heads import Head
from training.ml.encoders.data import LabeledWindow
from training.ml.encoders.network import EncoderWithHeads, decision_loss
from training.ml.encoders.trainer import WindowCollator

#: windows that the classifiers are fitted on
MAX_WINDOWS = 4_000
#: strength of the penalty of the weights, for features of length 1
_PENALTY = 0.02
_STEPS = 100
_BATCH = 32


def fit_decision_heads(
    model: EncoderWithHeads, windows: Sequence[LabeledWindow], collate: WindowCollator, device: torch.device
) -> None:
    """Sets the weights of the heads of unordered decisions. The same model and windows give the same weights."""
    names = [f"decision.{number}" for number, head in enumerate(model.decisions) if not head.ordered]
    if not names or not windows:
        return
    step = -(-len(windows) // MAX_WINDOWS)
    features, targets = _features(model.to(device), windows[::step], collate, names)
    length = float(features.norm(dim=1).mean())
    for number, (kind, head) in enumerate(zip(model.decisions, model.decision_heads, strict=True)):
        if not kind.ordered:
            _fit(kind, head, features / length, targets[f"decision.{number}"], length)


@torch.no_grad()
def _features(
    model: EncoderWithHeads, windows: Sequence[LabeledWindow], collate: WindowCollator, names: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean of the states of each window, (windows, width), and its targets by head."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    pooled: list[Tensor] = []
    targets: dict[str, list[Tensor]] = {name: [] for name in names}
    ordered = sorted(range(len(windows)), key=lambda number: windows[number].length)
    for at in range(0, len(ordered), _BATCH):
        for part in collate([windows[number] for number in ordered[at : at + _BATCH]])["parts"]:
            inner = part["inner"].to(device)
            states = model.encoder(
                input_ids=part["input_ids"].to(device), attention_mask=part["attention_mask"].to(device)
            ).last_hidden_state
            weights = inner.to(states.dtype) / inner.sum(1, keepdim=True).clamp_min(1)
            pooled.append((weights.unsqueeze(1) @ states).squeeze(1).float().cpu())
            for name in names:
                targets[name].append(part[name])
    model.train(was_training)
    return torch.cat(pooled), {name: torch.cat(values) for name, values in targets.items()}


def _fit(kind: Head, head: Any, features: Tensor, targets: Tensor, length: float) -> None:
    """A logistic regression on the mean of the states: attention starts equal for all tokens."""
    weight = torch.zeros_like(head.scores.weight, device="cpu", requires_grad=True)
    bias = torch.zeros_like(head.scores.bias, device="cpu", requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = functional.linear(features, weight, bias)
        value = decision_loss(kind, scores, targets).mean() + _PENALTY * weight.square().sum() / len(features)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    with torch.no_grad():
        head.scores.weight.copy_(weight / length)
        head.scores.bias.copy_(bias)
        head.attention.weight.zero_()
        head.attention.bias.zero_()
