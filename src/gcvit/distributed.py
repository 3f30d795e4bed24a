"""The processes of one run: their group, who this one is, and what they tell each other.

Every function works without a group too, as the only process. All ranks must call the collective ones
(`total`, `highest`, `gather`, `broadcast`, `share_buffers`, `on_main`, `wait`) in the same order.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

Item = TypeVar("Item")

# A rank that waits longer than this for the others fails instead of waiting for ever.
PATIENCE = timedelta(minutes=10)


@contextmanager
def process_group(patience: timedelta = PATIENCE) -> Iterator[None]:
    """The group of all processes that torchrun has started; nothing without torchrun.

    NCCL between GPUs, gloo for what lies in main memory. Raises ValueError when the group does not come together.
    """
    if "LOCAL_RANK" not in os.environ or dist.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available()
    if local_rank() < torch.cuda.device_count():  # with fewer GPUs than processes `resolve_device` says so
        torch.cuda.set_device(local_rank())
    try:
        store, number, count = next(rendezvous("env://", timeout=patience))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=_fresh(store), rank=number, world_size=count, timeout=patience)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the processes did not find each other: {error}; start them with torchrun") from error
    yield
    # Not after an error: NCCL would wait for ranks that may never come. The process ends anyway.
    dist.destroy_process_group()


def _fresh(store: dist.Store) -> dist.Store:
    """After a restart torchrun's store still has the addresses of the processes that have died (pytorch issue 135712),
    so each attempt gets its own corner. Agents on several machines count attempts each for itself: there
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 is the way (examples/torchrun.sh)."""
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return store
    return dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """This process's number on its machine, which is also its GPU's."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_main() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank() == 0


def total(values: Tensor) -> Tensor:
    """The sum of the ranks' tensors, which have one shape, on the device that they are on."""
    if world_size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def highest(value: int) -> int:
    """The largest of the ranks' numbers."""
    if world_size() == 1:
        return value
    values = torch.tensor(value)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return int(values)


def gather(item: Item) -> list[Item]:
    """What each rank has, in the order of ranks, on every rank. Tensors are to be on the CPU."""
    if world_size() == 1:
        return [item]
    items: list[Item] = [item] * world_size()
    dist.all_gather_object(items, item)
    return items


def broadcast(item: Item) -> Item:
    """What rank 0 has."""
    if world_size() == 1:
        return item
    items = [item]
    dist.broadcast_object_list(items)
    return items[0]


def share_buffers(model: nn.Module) -> None:
    """Give every rank rank 0's buffers, such as the statistics of batch norms, which each has of its own images."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def on_main(action: Callable[[], Item]) -> Item:
    """What `action` returns on rank 0, for all ranks; the OSError or ValueError that it raises there, all raise."""
    result, failure = None, None
    if is_main():
        try:
            result = action()
        except (OSError, ValueError) as error:
            failure = error
    result, failure = broadcast((result, failure))
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]


def restarted() -> bool:
    """Whether torchrun has started this process again after another one had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def wait() -> None:
    """Wait until every rank is here, in main memory: `dist.barrier` would choose NCCL where there is a GPU."""
    if world_size() > 1:
        highest(0)
