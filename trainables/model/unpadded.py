"""Attention over sequences that lie end to end: which pads only inside a few groups of sequences of like length.

A batch of sentences padded to its longest is half padding.  Here everything but attention works on `[total_tokens, hidden]`;
attention gathers queries, keys and values into up to four padded groups, one index doing the padding and the split into heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_GROUPS = 4
_FUSED_ON = ("cuda",)
_GROUP_COSTS = {"cpu": 2_000}  # what one more group costs in small kernels, in padded query-key pairs (docs/decisions/0015)
_GROUP_COST_ELSEWHERE = 20_000  # kernels have to be launched; not measured


@dataclass(frozen=True)
class Group:
    """Sequences attended to together: `num_sequences` of them padded to `length`; `mask` is None where none is shorter.

    `mask`: `[num_sequences, 1, 1, length]`, 0 at tokens and the lowest float at padding.
    """

    num_sequences: int
    length: int
    mask: Tensor | None


@dataclass(frozen=True)
class AttentionPlan:
    """How the tokens of one batch meet in attention.

    A slot is one (sequence, attention head, position) of the padded groups, groups one after the other.

    Attributes:
        groups: in order of length.
        slot_rows: `[num_slots]`, row of the `[total * num_heads, head_size]` tokens that fills each slot; padding repeats row 0.
        slot_used: `[num_slots, 1]` float, 0 at padding; None where there is none.
        token_slots: `[total * num_heads]`, slot of each row.
        order: `[num_sequences]`, the sequences' numbers as they stand in the groups.
    """

    groups: tuple[Group, ...]
    slot_rows: Tensor
    slot_used: Tensor | None
    token_slots: Tensor
    order: Tensor


def plan_attention(lengths: np.ndarray, num_heads: int, device: torch.device) -> AttentionPlan:
    """The plan for sequences of these lengths.

    Args:
        lengths: int64 `[num_sequences]`, each >= 1.
        num_heads: attention heads.
        device: where the index tensors go.
    """
    starts = np.cumsum(lengths) - lengths
    token_slots = np.empty((int(lengths.sum()), num_heads), dtype=np.int64)
    groups, slot_rows, first_slot = [], [], 0
    members_of_groups = group_by_length(lengths, _GROUP_COSTS.get(device.type, _GROUP_COST_ELSEWHERE))
    for members in members_of_groups:
        inner, length = lengths[members], int(lengths[members].max())
        used = np.arange(length) < inner[:, None]  # [n, L]
        tokens = np.where(used, starts[members][:, None] + np.arange(length), 0)
        rows = tokens[:, None, :] * num_heads + np.arange(num_heads)[:, None]  # [n, heads, L]
        slots = first_slot + np.arange(rows.size).reshape(rows.shape)
        token_slots[tokens[used]] = slots.transpose(0, 2, 1)[used]
        slot_rows.append(np.where(used[:, None, :], rows, -1).ravel())
        groups.append(Group(len(members), length, _key_mask(used, device)))
        first_slot += rows.size
    rows_of_slots = np.concatenate(slot_rows)
    used_slots = rows_of_slots >= 0
    slot_used = None if used_slots.all() else torch.from_numpy(used_slots[:, None].astype(np.float32)).to(device)
    return AttentionPlan(
        groups=tuple(groups),
        slot_rows=torch.from_numpy(np.maximum(rows_of_slots, 0)).to(device),
        slot_used=slot_used,
        token_slots=torch.from_numpy(token_slots.ravel()).to(device),
        order=torch.from_numpy(np.concatenate(members_of_groups)).to(device),
    )


def group_by_length(lengths: np.ndarray, group_cost: int, max_groups: int = MAX_GROUPS) -> list[np.ndarray]:
    """Sequence numbers in up to `max_groups` groups, split where the padded query-key pairs plus a cost a group are fewest.

    Dynamic programming over the different lengths; exact, and without a Python loop over sequences.

    Args:
        lengths: int64 `[num_sequences]`, each >= 1.
        group_cost: of one more group, in padded query-key pairs.
        max_groups: at least 1.
    """
    order = np.argsort(lengths, kind="stable")
    sizes, first = np.unique(lengths[order], return_index=True)
    before = np.append(first, len(lengths))
    # cost[i, j]: one group of all sequences whose length is in sizes[i : j + 1]
    counts = before[None, 1:] - before[:-1, None]
    cost = np.where(counts > 0, counts * sizes[None, :] ** 2 + group_cost, np.inf)
    best, cuts = cost[0], [np.zeros(len(sizes), dtype=np.int64)]
    totals = [best[-1]]
    for _ in range(min(max_groups, len(sizes)) - 1):
        candidates = np.concatenate(([np.inf], best[:-1]))[:, None] + cost
        cuts.append(candidates.argmin(axis=0))
        best = candidates.min(axis=0)
        totals.append(best[-1])
    ends, end = [], len(sizes) - 1
    for level in range(int(np.argmin(totals)), -1, -1):
        start = int(cuts[level][end])
        ends.append((int(before[start]), int(before[end + 1])))
        end = start - 1
    return [order[low:high] for low, high in reversed(ends)]


def attend(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, masks: Sequence[Tensor | None]) -> Tensor:
    """Softmax attention within each sequence: `softmax(q k^T / sqrt(head_size)) v`.

    Args:
        query: `[total, hidden]`.
        key: `[total, hidden]`.
        value: `[total, hidden]`.
        plan: of the batch.
        masks: of each group's attention probabilities, `[num_sequences * heads, length, length]` (dropout), or None.

    Returns:
        `[total, hidden]`.
    """
    head_size = key.shape[1] * len(key) // len(plan.token_slots)
    slots = [_padded(x, plan, head_size) for x in (query * head_size**-0.5, key, value)]
    contexts = [_attend_group(*of_group) for of_group in zip(*slots, plan.groups, masks, strict=True)]
    out: Tensor = _Unpad.apply(_joined(contexts), plan)  # type: ignore[no-untyped-call]
    return out.view(key.shape)


def attend_from_one(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, masks: Sequence[Tensor | None]) -> Tensor:
    """The same of one token a sequence, without the others' work.

    Args:
        query: `[num_sequences, hidden]`.
        key: `[total, hidden]`.
        value: `[total, hidden]`.
        plan: of the batch.
        masks: as of `attend`, `[num_sequences * heads, 1, length]`.

    Returns:
        `[num_sequences, hidden]`.
    """
    head_size = key.shape[1] * len(key) // len(plan.token_slots)
    asked = (query * head_size**-0.5)[plan.order].view(-1, head_size)
    num_heads = key.shape[1] // head_size
    slots = [
        asked.split([group.num_sequences * num_heads for group in plan.groups]),
        *(_padded(x, plan, head_size) for x in (key, value)),
    ]
    contexts = [_attend_group(*of_group) for of_group in zip(*slots, plan.groups, masks, strict=True)]
    return torch.empty_like(query).index_copy(0, plan.order, _joined(contexts).view(query.shape))


def _padded(rows: Tensor, plan: AttentionPlan, head_size: int) -> Sequence[Tensor]:
    """Tokens `[total, hidden]` as the slots of each group, `[num_slots, head_size]`."""
    slots: Tensor = _Pad.apply(rows.view(-1, head_size), plan)  # type: ignore[no-untyped-call]
    num_heads = rows.shape[1] // head_size
    of_groups: Sequence[Tensor] = slots.split([group.num_sequences * num_heads * group.length for group in plan.groups])  # type: ignore[no-untyped-call]
    return of_groups


def _joined(contexts: Sequence[Tensor]) -> Tensor:
    return contexts[0] if len(contexts) == 1 else torch.cat(tuple(contexts))


def _attend_group(query: Tensor, key: Tensor, value: Tensor, group: Group, mask: Tensor | None) -> Tensor:
    """Attention over one group's slots, each `[num_slots, head_size]`; of `query` all of them, or one a sequence and head."""
    head_size = key.shape[1]
    key, value = (x.view(-1, group.length, head_size) for x in (key, value))
    query = query.view(len(key), -1, head_size)
    if mask is None and query.device.type in _FUSED_ON:
        return _attend_fused(query, key, value, group)
    scores = torch.bmm(query, key.transpose(1, 2))
    if group.mask is not None:
        by_sequence = scores.view(group.num_sequences, -1, query.shape[1], group.length)
        scores = by_sequence.add_(group.mask).view(scores.shape)
    probabilities = scores.softmax(-1)
    if mask is not None:
        probabilities = probabilities * mask
    return torch.bmm(probabilities, value).flatten(0, 1)


def _attend_fused(query: Tensor, key: Tensor, value: Tensor, group: Group) -> Tensor:
    """The same in one kernel, each `[num_sequences * heads, length, head_size]`, for accelerators and where nothing is dropped.

    Not on a CPU, where it is slower; not with dropout, whose masks the passes of SMART share and the kernel would draw itself.
    """
    query, key, value = (x.view(group.num_sequences, -1, *x.shape[1:]) for x in (query, key, value))
    mask = None if group.mask is None else group.mask.to(query.dtype)
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    return out.flatten(0, 2)


def _key_mask(used: np.ndarray, device: torch.device) -> Tensor | None:
    if used.all():
        return None
    lowest = np.finfo(np.float32).min
    return torch.from_numpy(np.where(used, np.float32(0), lowest)[:, None, None, :]).to(device)


class _Pad(torch.autograd.Function):
    """Rows of tokens to slots; a gather both ways, where autograd would scatter (padding takes no gradient)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, plan: AttentionPlan) -> Tensor:
        ctx.plan = plan
        return rows.index_select(0, plan.slot_rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.plan.token_slots), None


class _Unpad(torch.autograd.Function):
    """Slots back to rows of tokens: the inverse of `_Pad`."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, plan: AttentionPlan) -> Tensor:
        ctx.plan = plan
        return slots.index_select(0, plan.token_slots)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        plan: AttentionPlan = ctx.plan
        padded = gradient.index_select(0, plan.slot_rows)
        return padded if plan.slot_used is None else padded.mul_(plan.slot_used), None
