"""The processes of one run: their group, who this one is, and what they tell each other.

Every function works without a group too, as the only process. All ranks must call the collective ones
(`total`, `highest`, `gather`, `broadcast`, `share_buffers`, `on_main`, `wait`) in the same order.
"""

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from gcvit.errors import UserError, require
from gcvit.wording import harmless, listed

Item = TypeVar("Item")

PATIENCE = "GCVIT_PATIENCE"  # the environment's name for the seconds that processes wait for each other
MARGIN = timedelta(minutes=1)  # NCCL waits so much longer, since it ends the process without a word to Python
ROLL_CALL = 10.0  # seconds for the others to find out, too, that somebody is missing

_talk: Any = None  # the group for what lies in main memory; None: that of all


class LostRank(UserError):
    """Another process of the run has ended, or does not answer."""


def patience() -> timedelta:
    """How long a process waits for the others, or for an image: GCVIT_PATIENCE seconds of the environment, 1 to
    1,000,000; ten minutes where it is not set. Raises UserError for anything else."""
    text = os.environ.get(PATIENCE, "600")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    require(1 <= seconds <= 1_000_000, PATIENCE, text, "a number of seconds, 1 to 1,000,000")
    return timedelta(seconds=seconds)


@contextmanager
def process_group(wait: timedelta | None = None) -> Iterator[None]:
    """The group of all processes that torchrun has started; nothing without torchrun.

    NCCL between GPUs, gloo for what lies in main memory. wait: in the place of `patience`. Raises UserError when the
    group does not come together, and LostRank, naming it, when one of them later ends or is silent for so long.
    """
    global _talk
    if "LOCAL_RANK" not in os.environ or dist.is_initialized():
        yield
        return
    wait = wait or patience()
    cuda = torch.cuda.is_available()
    if local_rank() < torch.cuda.device_count():  # with fewer GPUs than processes `resolve_device` says so
        torch.cuda.set_device(local_rank())
    try:
        store, number, count = next(rendezvous("env://", timeout=wait))
        for what in ("missing", "end"):  # of an attempt before
            store.delete_key(_key(what, number))
        store.set(_key("host", number), socket.gethostname())
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        longest = wait + MARGIN if cuda else wait
        dist.init_process_group(backend, store=_fresh(store), rank=number, world_size=count, timeout=longest)
        _talk = dist.new_group(backend="gloo", timeout=wait) if cuda else None
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes did not find each other: {error}; start them with torchrun") from error
    try:
        yield
    except BaseException as error:
        lost = isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error))
        if lost:
            raise LostRank(_explained(error, store, wait)) from error
        with suppress(RuntimeError):  # whoever kept the store has ended too
            store.set(_key("end", rank()), harmless(f"{type(error).__name__}: {error}", keep="")[:200])
        raise
    # Not after an error: NCCL would wait for ranks that may never come. The process ends anyway.
    dist.destroy_process_group()
    _talk = None


def _explained(error: BaseException, store: dist.Store, wait: timedelta) -> str:
    """What a process says that waited for others in vain: which of them do not say the same."""
    again = "The same command goes on from the last checkpoint"
    silent = "imed out" in str(error)
    try:
        store.set(_key("missing", rank()), "silent" if silent else "gone")
        others = set(range(world_size())) - {rank()}
        end = time.monotonic() + ROLL_CALL
        while len(others) > 1 and time.monotonic() < end:
            others = {number for number in others if not store.check([_key("missing", number)])}
            time.sleep(0.1)
        names = listed(sorted(others), 8, lambda number: f"rank {number} ({_told(store, 'host', number)})")
        ends = [_told(store, "end", number) for number in sorted(others)]
        silent = not any(_told(store, "missing", number) == "gone" for number in range(world_size()))
    except RuntimeError:  # the store is torchrun's, or rank 0's
        names, ends = "another process, and with it what keeps them together,", []
    if any(ends):
        return f"{names} has ended: {next(filter(None, ends))}. {again}"
    if silent:
        return (
            f"{names} has not answered for {wait.total_seconds():g} s. {again}; {PATIENCE}=SECONDS in the environment "
            f"waits longer or shorter"
        )
    return f"{names} has ended; see what it said. {again}"


def _key(what: str, number: int) -> str:
    """Where a rank tells its machine's name (host), that it misses others (missing), or what it ended with (end)."""
    return f"gcvit/{what}/{number}"


def _told(store: dist.Store, what: str, number: int) -> str:
    key = _key(what, number)
    return store.get(key).decode() if store.check([key]) else ""


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
    _meet(values)
    values = values.clone()
    dist.all_reduce(values)
    return values


def highest(value: int) -> int:
    """The largest of the ranks' numbers."""
    if world_size() == 1:
        return value
    values = torch.tensor(value)
    dist.all_reduce(values, op=dist.ReduceOp.MAX, group=_talk)
    return int(values)


def gather(item: Item) -> list[Item]:
    """What each rank has, in the order of ranks, on every rank. Tensors are to be on the CPU."""
    if world_size() == 1:
        return [item]
    items: list[Item] = [item] * world_size()
    dist.all_gather_object(items, item, group=_talk)
    return items


def broadcast(item: Item) -> Item:
    """What rank 0 has."""
    if world_size() == 1:
        return item
    items = [item]
    dist.broadcast_object_list(items, group=_talk)
    return items[0]


def share_buffers(model: nn.Module) -> None:
    """Give every rank rank 0's buffers, such as the statistics of batch norms, which each has of its own images."""
    if world_size() > 1:
        for number, buffer in enumerate(model.buffers()):
            if number == 0:
                _meet(buffer)
            dist.broadcast(buffer, 0)


def on_main(action: Callable[[], Item]) -> Item:
    """What `action` returns on rank 0, for all ranks; whatever it raises there, Ctrl-C included, all raise."""
    if world_size() == 1:
        return action()
    told, failure = b"", None
    if is_main():
        try:
            told = pickle.dumps((action(), None))
        except BaseException as error:
            told, failure = pickle.dumps((None, _sendable(error))), error
    result, theirs = pickle.loads(broadcast(told))
    if failure is not None or theirs is not None:
        raise failure or theirs
    return result


def _sendable(error: BaseException) -> BaseException:
    """The error, or what it says where another process could not build it from its parts."""
    try:
        copy: Any = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a constructor does with arguments that it was not made for
        copy = None
    return error if type(copy) is type(error) else RuntimeError(f"on rank 0: {type(error).__name__}: {error}")


def restarted() -> bool:
    """Whether torchrun has started this process again after another one had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def wait() -> None:
    """Wait until every rank is here, in main memory: `dist.barrier` would choose NCCL where there is a GPU."""
    if world_size() > 1:
        highest(0)


def _meet(values: Tensor) -> None:
    """Before a GPU's tensors are exchanged: whoever is missing is missed in main memory, where it can be told."""
    if values.is_cuda:
        wait()
