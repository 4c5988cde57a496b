"""What a run can be taken along as: specs of the children that make it, and texts for other trainers. Pure Python."""
