"""How many rows of a batch go through the model at once on a CPU. Pure: the trainer and the estimates go by it."""

#: Tokens of a piece. What a layer leaves behind for the next one is still near the processor then, and products of so
#: many rows are as fast as larger ones. Batches of four and eight receipts that went through whole took up to 1.9 times
#: the time in fp32 and 1.5 to 3.7 times the memory (docs/benchmarks.md).
PIECE = 1024


def tokens_of_piece(rows: int, longest: int) -> int:
    """The most tokens that a piece of a batch of ``rows`` can have, the longest of which has ``longest``."""
    return min(rows * longest, max(longest, PIECE))


def rows_of_piece(longest: int) -> int:
    """How many rows of at most ``longest`` tokens make a piece; one at least."""
    return max(1, PIECE // max(1, longest))
