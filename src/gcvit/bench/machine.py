"""What a measurement was made on, in words that a table of results can carry."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from gcvit.engine.device import cores


def machine(device: torch.device) -> dict[str, str]:
    """Processor, cores, threads, GPU if `device` is one, and versions: name → value."""
    found = {
        "processor": f"{_processor()}, {cores()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        found["GPU"] = f"{properties.name}, {memory}, CUDA {torch.version.cuda}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    found["software"] = f"{packages}, Python {platform.python_version()}, {platform.system()}"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
