"""What a server bears: callers that send pictures without a pause, one after the other.

    python runs/serve_load.py ADDRESS PHOTO.jpg… [--callers 1 4 16] [--seconds 20]

ADDRESS: of a `gcvit serve` that runs already, such as http://127.0.0.1:8000. Prints a Markdown table; exit code 0 when
every request was answered with 200 or 503.
"""

import argparse
import asyncio
import re
from collections import Counter
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import httpx


def resident(address: str) -> str:
    """MiB that the server holds, where its system tells."""
    found = re.search(r"^process_resident_memory_bytes (\S+)", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    return "–" if found is None else f"{float(found[1]) / 2**20:.0f}"


async def call(client: httpx.AsyncClient, pictures: list[bytes], until: float, found: list[tuple[int, float]]) -> None:
    """Send pictures, one after the other; (status, seconds) of each goes to `found`."""
    for picture in cycle(pictures):
        start = perf_counter()
        if start > until:
            return
        answer = await client.post("/predict", content=picture, headers={"content-type": "image/jpeg"})
        found.append((answer.status_code, perf_counter() - start))


async def load(address: str, pictures: list[bytes], callers: int, seconds: float) -> list[tuple[int, float]]:
    """What so many callers got."""
    found: list[tuple[int, float]] = []
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        until = perf_counter() + seconds
        turned = [pictures[i % len(pictures) :] + pictures[: i % len(pictures)] for i in range(callers)]
        await asyncio.gather(*(call(client, mine, until, found) for mine in turned))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in options.photos]
    asyncio.run(load(options.address, pictures, 1, 2))  # warm

    print("| callers | requests | per second | p50 ms | p95 ms | answered | told to come again | lost | server's MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    lost = 0
    for callers in options.callers:
        start = perf_counter()
        found = asyncio.run(load(options.address, pictures, callers, options.seconds))
        passed = perf_counter() - start
        statuses = Counter(status for status, _ in found)
        times = quantiles((1000 * seconds for _, seconds in found), n=20)
        other = len(found) - statuses[200] - statuses[503]
        lost += other
        print(
            f"| {callers} | {len(found)} | {len(found) / passed:.1f} | {times[9]:.0f} | {times[18]:.0f} "
            f"| {statuses[200]} | {statuses[503]} | {other} | {resident(options.address)} |",
            flush=True,
        )
    return int(lost > 0)


if __name__ == "__main__":
    raise SystemExit(main())
