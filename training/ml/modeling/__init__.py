"""Models in training: loading, LoRA, attention, quantization, checks of model folders."""
