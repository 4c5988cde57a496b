"""An encoder with its heads: tensors in, scores and losses out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.encoders.heads import Head, tag_labels, tag_width

#: width of the vectors whose product scores the start of a stretch together with its end
_PAIR_WIDTH = 64
_DROPOUT = 0.1
_LOWEST = -1e4
#: of labels: the head learns nothing from this place
IGNORED = -100


class SpanHeads(nn.Module):
    """Scores of every stretch of a window for several fields at once.

    The score of a stretch is the sum of a score of its start, one of its end, and a scaled dot product of both (as in
    biaffine parsing, arXiv:1611.01734, without its bias); the first token has the score of no answer. One softmax over
    all of these gives a probability of a stretch, so start and end agree.
    """

    def __init__(self, width: int, longest: Sequence[int]) -> None:
        """``longest``: tokens of a stretch, at most, by field."""
        super().__init__()
        self.fields = len(longest)
        self.ends = nn.Linear(width, 2 * self.fields)
        self.none = nn.Linear(width, self.fields)
        self.pairs = nn.Linear(width, 2 * self.fields * _PAIR_WIDTH)
        self.length = max(longest)
        self.register_buffer("longest", torch.tensor(longest), persistent=False)

    def forward(self, states: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """``states``: (batch, tokens, width). ``inner``: (batch, tokens), True at tokens of the document. Returns
        scores (batch, fields, tokens, length) by start and by tokens after it, and (batch, fields) of no answer.
        """
        batch, tokens, _ = states.shape
        starts, ends = self.ends(states).float().view(batch, tokens, 2, self.fields).permute(2, 0, 3, 1)
        pairs = self.pairs(states).view(batch, tokens, 2, self.fields, _PAIR_WIDTH).permute(2, 0, 3, 1, 4)
        scores = (pairs[0] @ pairs[1].transpose(-1, -2)).float() / math.sqrt(_PAIR_WIDTH)
        scores = scores + starts.unsqueeze(-1) + ends.unsqueeze(-2)
        after = torch.arange(self.length, device=states.device)
        last = torch.arange(tokens, device=states.device).unsqueeze(1) + after  # (tokens, length)
        reached = last.clamp(max=tokens - 1)
        scores = scores.gather(3, reached.expand(batch, self.fields, tokens, self.length))
        allowed = inner.unsqueeze(2) & inner[:, reached.flatten()].view(batch, tokens, self.length) & (last < tokens)
        allowed = allowed.unsqueeze(1) & (after < self.longest.view(-1, 1, 1))
        return scores.masked_fill(~allowed, _LOWEST), self.none(states[:, 0]).float()


class DecisionHead(nn.Module):
    """Classes of a whole window: attention over its tokens, and a linear layer. Ordered classes share one score and
    have a threshold each (a cumulative link, McCullagh 1980); an ``optional`` one has a first class apart.
    """

    def __init__(self, width: int, classes: int, *, ordered: bool, optional: bool = False) -> None:
        super().__init__()
        self.attention = nn.Linear(width, 1)
        self.dropout = nn.Dropout(_DROPOUT)
        self.ordered = ordered
        self.optional = optional
        self.scores = nn.Linear(width, 1 + optional if ordered else classes)
        if ordered:
            self.gaps = nn.Parameter(torch.zeros(classes - 1 - optional))

    def forward(self, states: Tensor, inner: Tensor) -> Tensor:
        """(batch, classes): log-odds of each class, or log-probabilities of ordered ones."""
        weights = self.attention(states).float().squeeze(-1).masked_fill(~inner, _LOWEST).softmax(-1)
        pooled = self.dropout((weights.to(states.dtype).unsqueeze(1) @ states).squeeze(1))
        scores: Tensor = self.scores(pooled).float()
        if not self.ordered:
            return scores
        # Thresholds ascend: each is the one before and a positive gap.
        thresholds = torch.cumsum(functional.softplus(self.gaps), 0) - len(self.gaps) / 2
        above = torch.sigmoid(scores[:, :1] - thresholds)  # probability of more than each class
        ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
        scale = (torch.cat([ones, above], 1) - torch.cat([above, zeros], 1)).clamp_min(1e-9).log()
        if not self.optional:
            return scale
        absent = scores[:, 1:]
        return torch.cat([functional.logsigmoid(absent), functional.logsigmoid(-absent) + scale], 1)


class EncoderWithHeads(nn.Module):
    """A pretrained encoder and the heads of a contract."""

    def __init__(self, encoder: nn.Module, heads: Sequence[Head], longest: Mapping[str, int]) -> None:
        """``longest``: tokens of a stretch, at most, by the pattern of its span head."""
        super().__init__()
        self.encoder = encoder
        self.config: Any = encoder.config
        self.dropout = nn.Dropout(_DROPOUT)
        width = int(self.config.hidden_size)
        self.spans = [head for head in heads if head.kind == "span"]
        self.decisions = [head for head in heads if head.kind == "decision"]
        self.tags = [head for head in heads if head.kind in ("tags", "rows")]
        self.span_heads = SpanHeads(width, [longest[head.pattern] for head in self.spans]) if self.spans else None
        self.decision_heads = nn.ModuleList(
            DecisionHead(width, len(head.classes), ordered=head.ordered, optional=None in head.classes)
            for head in self.decisions
        )
        self.tag_heads = nn.ModuleList(nn.Linear(width, tag_width(head)) for head in self.tags)

    def head_state(self) -> dict[str, Tensor]:
        """The weights of the heads by name."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, inner: Tensor) -> dict[str, Tensor]:
        """Scores of windows: ``spans`` and ``none`` as ``SpanHeads``; ``decision.N`` (batch, classes) and ``tags.N``
        (batch, tokens, labels) by the number of the head among its kind. ``inner``: True at tokens of the document.
        """
        states = self.dropout(self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        outputs: dict[str, Tensor] = {}
        if self.span_heads is not None:
            outputs["spans"], outputs["none"] = self.span_heads(states, inner)
        for number, head in enumerate(self.decision_heads):
            outputs[f"decision.{number}"] = head(states, inner)
        for number, tagger in enumerate(self.tag_heads):
            outputs[f"tags.{number}"] = tagger(states).float()
        return outputs

    def losses(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """(batch,): the mean over the heads of their negative log-likelihood in nats. ``targets`` as ``labels.batch``
        gives them; a head that has none for a window counts zero there.
        """
        parts: list[Tensor] = []
        if self.span_heads is not None:
            loss = _span_loss(outputs["spans"], outputs["none"], targets["span_places"], targets["span_none"])
            parts.append(loss * targets["span_known"])
        for number, head in enumerate(self.decisions):
            name = f"decision.{number}"
            parts.append(decision_loss(head, outputs[name], targets[name]).unsqueeze(1))
        for number, head in enumerate(self.tags):
            scores, labels = outputs[f"tags.{number}"], targets[f"tags.{number}"]
            loss = _tag_loss(head, scores, labels, targets.get(f"starts.{number}"))
            if head.kind == "rows":
                loss = loss + _choice_loss(head, scores, targets[f"choices.{number}"])
            parts.append(loss.unsqueeze(1))
        return torch.cat(parts, 1).mean(1)


def _span_loss(scores: Tensor, none: Tensor, places: Tensor, is_none: Tensor) -> Tensor:
    """(batch, fields): marginal over all ``places`` of gold, or no answer.

    ``places``: (places, 4) of batch, field, first token, and tokens after it.
    """
    batch, fields, _, length = scores.shape
    flat = torch.cat([scores.flatten(2), none.unsqueeze(-1)], -1).flatten(0, 1)
    everything = torch.logsumexp(flat, -1).view(batch, fields)
    # What gold has of the probability: summed in one row for each field, as there are few places.
    group = places[:, 0] * fields + places[:, 1]
    kept = places[:, 3] < length  # longer ones than any that can be predicted
    right = torch.exp(
        flat[group, places[:, 2] * length + places[:, 3].clamp(max=length - 1)] - everything.view(-1)[group]
    )
    total = torch.exp(none - everything) * is_none
    total = total.view(-1).index_add(0, group, right * kept).view(batch, fields)
    return -torch.log(total.clamp_min(1e-30))


def decision_loss(head: Head, scores: Tensor, target: Tensor) -> Tensor:
    """(batch,): of one class, or of each of several independently."""
    if head.several:
        known = target[:, 0] >= 0
        each = functional.binary_cross_entropy_with_logits(scores, target.clamp_min(0), reduction="none")
        return each.sum(1) * known
    return functional.cross_entropy(scores, target, ignore_index=IGNORED, reduction="none")


def _tag_loss(head: Head, scores: Tensor, labels: Tensor, starts: Tensor | None) -> Tensor:
    """(batch,): the mean over the tokens of the document; rare stretches weigh more than what is outside."""
    classes = tag_labels(head)
    weight = torch.full((classes,), 2.0, device=scores.device)
    weight[0] = 1.0
    each = functional.cross_entropy(
        scores[..., :classes].transpose(1, 2), labels, weight=weight, ignore_index=IGNORED, reduction="none"
    )
    known = (labels != IGNORED).float()
    if starts is not None:
        start = functional.binary_cross_entropy_with_logits(scores[..., classes], starts.clamp_min(0), reduction="none")
        each = each + start * known
    # a token has little to say: a tenth of a document's tokens weigh as one answer
    return 10 * (each * known).sum(1) / known.sum(1).clamp_min(1)


def _choice_loss(head: Head, scores: Tensor, labels: Tensor) -> Tensor:
    """(batch,): of the choices of rows, each the mean over the rows of a window, as one decision weighs.

    ``labels``: (batch, tokens, choices), known where a row begins.
    """
    total = scores.new_zeros(len(scores))
    first = tag_labels(head) + 1
    for number, choice in enumerate(head.choices):
        own, wanted = scores[..., first : first + len(choice.classes)], labels[..., number]
        each = functional.cross_entropy(own.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
        total = total + each.sum(1) / (wanted != IGNORED).sum(1).clamp_min(1)
        first += len(choice.classes)
    return total
