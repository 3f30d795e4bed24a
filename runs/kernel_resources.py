"""Registers, shared memory and spills of the window-attention kernels, compiled for GPUs that need not be there.

`python runs/kernel_resources.py` prints a table for A100 (sm_80) and H100/H200 (sm_90); needs triton.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from gcvit.cli.output import say, table
from gcvit.kernels.window_attention import tile_sizes
from gcvit.kernels.window_attention_triton import SIZES, large_windows, small_windows

POINTERS = ("projected", "query", "table", "out")
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Registers of a multiprocessor, bytes of its shared memory, threads it holds: the same on both.
REGISTERS, THREADS = 65536, 2048
SHARED = {80: 164 * 1024, 90: 228 * 1024}


def compile_kernel(capability: int, side: int, dtype: str, global_query: bool):
    """The kernel that runs for windows of side × side, as for aligned tensors."""
    tiles = tile_sizes(side * side, TYPES[dtype])
    kernel = large_windows if "KEYS" in tiles else small_windows
    options = {"enable_fp_fusion": True} | {name: tiles.pop(name) for name in ("num_warps", "num_stages")}
    constants = {"GLOBAL": global_query, "H": side, "W": side, "WIDEN": False, **tiles}
    constants |= {} if global_query else {"query_token_stride": 32}
    signature, aligned = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name in POINTERS:
            signature[name] = "*fp32" if name == "table" else f"*{dtype}"
            aligned[(place,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32" if name == "scale" else "i32"
            if name.endswith("stride") and name != "offset_stride" and not name.startswith("table"):
                aligned[(place,)] = [["tt.divisibility", 16]]
    assert set(SIZES) <= set(signature)
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options), {**tiles, **options}


def resources(compiled, capability: int) -> tuple[int, int]:
    """(registers per thread, bytes spilled), as the assembler reports them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(compiled.asm["ptx"])
        target = f"sm_{capability}a" if capability == 90 else f"sm_{capability}"
        command = [
            get_ptxas(capability).path,
            "-v",
            f"--gpu-name={target}",
            str(source),
            "-o",
            str(Path(folder) / "kernel.cubin"),
        ]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", report))
    (registers,) = re.findall(r"Used (\d+) registers", report)
    return int(registers), spills


def rows() -> Iterator[list[str]]:
    for capability, side, dtype, kind in product(SHARED, (7, 14, 32), TYPES, ("local", "global")):
        compiled, tiles = compile_kernel(capability, side, dtype, kind == "global")
        registers, spills = resources(compiled, capability)
        threads, shared = 32 * tiles["num_warps"], compiled.metadata.shared
        # CUDA keeps 1 KiB of shared memory for each program.
        held = min(REGISTERS // (registers * threads), THREADS // threads, SHARED[capability] // (shared + 1024))
        tile = f"{tiles['BLOCK']}×{tiles.get('KEYS', tiles['BLOCK'])}"
        numbers = (tiles["num_warps"], registers, spills, shared, held)
        yield [f"sm_{capability}", str(side), dtype, kind, tile, *map(str, numbers)]


def main() -> None:
    names = ("GPU", ">window", "type", "kind", ">tile", ">warps", ">registers", ">spilled B", ">shared B", ">programs")
    table(names, rows())
    say("programs: how many a multiprocessor holds at once")


if __name__ == "__main__":
    main()
