"""How a run was launched: its processes, and whether machine and launch support its spec."""

import os

import torch

from slmstudio.errors import Refused
from training.ml.modeling import quantization
from training.spec import RunSpec


def world_size() -> int:
    """Number of processes of this run, as set by ``accelerate launch``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process writes events and files."""
    return os.environ.get("RANK", "0") == "0"


def check_machine(spec: RunSpec, device: torch.device, precision: str) -> None:
    """Raises Refused, with the field, where this machine or launch does not support the spec."""
    quantization.check_qlora(spec, device)
    if precision == "fp16" and device.type != "cuda":
        raise Refused(
            "precision: fp16 needs a CUDA device. Choose auto, bf16 or fp32 on this machine.", code="precision"
        )
    if spec.devices != world_size():
        raise Refused(
            f"devices: the spec asks for {spec.devices}, and the number of processes is {world_size()}. Start it with "
            f"`accelerate launch --num_processes {spec.devices} -m training.ml.train SPEC.yaml`, or change devices.",
            code="devices",
        )
    if spec.devices == 1 and device.type == "cuda" and torch.cuda.device_count() > 1:
        raise Refused(
            f"devices: the spec asks for one device and {torch.cuda.device_count()} are visible. Set "
            "CUDA_VISIBLE_DEVICES to one of them.",
            code="devices",
        )
