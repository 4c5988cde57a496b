"""Micro-batches on a CPU: how many rows of a batch are computed together. Pure; used by trainer and estimates."""

#: Tokens of a micro-batch. The activations of a layer fit in the CPU caches then, and matrix products of this size are
#: as fast as larger ones. Whole batches of four and eight receipts took up to 1.9 times the time in fp32 and 1.5 to 3.7
#: times the memory (docs/benchmarks.md).
MICRO_BATCH_TOKENS = 1024


def micro_batch_tokens(rows: int, longest: int) -> int:
    """The maximum tokens of a micro-batch of ``rows`` rows, the longest of which has ``longest`` tokens."""
    return min(rows * longest, max(longest, MICRO_BATCH_TOKENS))


def micro_batch_rows(longest: int) -> int:
    """Rows of at most ``longest`` tokens in a micro-batch; at least one."""
    return max(1, MICRO_BATCH_TOKENS // max(1, longest))
