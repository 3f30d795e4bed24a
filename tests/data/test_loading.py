"""A loader worker that dies is an error, at once, and never a wait without end; how batches reach the model."""

import gc
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from gcvit.data.images import ImageError
from gcvit.data.loading import EpochLoader, Loader, LoadingFailed, to_device
from gcvit.data.quarantine import Quarantine
from gcvit.data.sampling import Share
from gcvit.errors import UserError
from gcvit.internals.of_torch import shut_down_workers

SIZE = 64
SHM = "^/dev/shm is full.*give --workers 0, or fewer than 2; .* --shm-size$"


class Slow(Dataset):
    """Each image takes a moment, so that the epoch is not over before the worker dies."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(0.02)
        return torch.full((3, 4, 4), float(index)), index


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_an_error(workers):
    before = set(multiprocessing.active_children())
    loader = EpochLoader(Slow(), Share(4), seed=0, workers=workers, device=torch.device("cpu"))
    batches = loader.epoch(0)
    next(batches)
    victim = next(child for child in multiprocessing.active_children() if child not in before)
    os.kill(victim.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"worker .*(killed by signal|exited unexpectedly)"):
        list(batches)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_outlive_the_signals_that_ask_the_run_to_save(number):
    before = set(multiprocessing.active_children())
    loader = EpochLoader(Slow(), Share(8), seed=0, workers=1, device=torch.device("cpu"))
    batches = loader.epoch(0)
    next(batches)
    os.kill(next(child for child in multiprocessing.active_children() if child not in before).pid, number)
    assert len(list(batches)) == 7


class Numbers(Dataset):
    """Items that draw a random number; some cannot be read."""

    def __init__(self, bad: frozenset[int] = frozenset()) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, int]]:
        drawn = torch.rand(2)
        if index in self.bad:
            raise ImageError(f"cannot read image {self.name(index)}: cut off")
        return drawn, {"index": index}

    def name(self, index: int) -> str:
        return f"{index}.png"


def listed(items: list) -> list:
    """A collate function that stacks nothing."""
    return [(drawn.tolist(), about["index"]) for drawn, about in items]


def batches(bad: frozenset[int] = frozenset(), *, collate=None, quarantine=None, workers=0, start=0) -> list:
    share = Share(8, passes=2)
    loader = EpochLoader(
        Numbers(bad),
        share,
        seed=1,
        workers=workers,
        device=torch.device("cpu"),
        updates=5,
        collate=collate,
        quarantine=None if quarantine is None else Quarantine(quarantine, 24, 1.0),
    )
    try:
        return list(loader.epoch(2, start))
    finally:
        loader.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [None, listed])
def test_a_quarantine_without_bad_images_changes_nothing(tmp_path, collate, workers):
    plain = batches(collate=collate)
    assert len(plain) == 10
    watched = batches(collate=collate, quarantine=tmp_path / "q.jsonl", workers=workers)
    assert not (tmp_path / "q.jsonl").exists()
    if collate is not None:
        assert plain == watched
        return
    for (one, about), (other, told) in zip(plain, watched, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(about["index"], told["index"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_collate_function_gets_the_items_that_others_are_stacked_from(tmp_path, workers):
    """Also where bad images make place for others; an update further on is the same when it comes first."""
    bad = frozenset({3, 4, 17})
    stacked = batches(bad, quarantine=tmp_path / "a.jsonl")
    items = batches(bad, collate=listed, quarantine=tmp_path / "b.jsonl", workers=workers)
    assert [item for batch in items for item in batch] == [
        (drawn.tolist(), index)
        for numbers, about in stacked
        for drawn, index in zip(numbers, about["index"].tolist(), strict=True)
    ]
    assert not bad & {index for batch in items for _, index in batch}
    assert batches(bad, collate=listed, quarantine=tmp_path / "c.jsonl", start=3) == items[6:]


@dataclass(frozen=True)
class Targets:
    """What a task may make of the targets of a batch."""

    boxes: Any
    name: str


class Boxes(NamedTuple):
    corners: torch.Tensor
    classes: list


class Point(NamedTuple):
    x: int


leaves = st.one_of(
    st.integers(), st.text(), st.none(), st.integers(0, 4).map(lambda axes: torch.rand([2, 3, 4, 5][:axes]))
)
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Boxes, st.just(torch.rand(2, 4)), st.lists(inner, max_size=2)),
        st.builds(Point, inner),
        st.builds(Targets, inner, st.just("a name")),
    ),
    max_leaves=8,
)


def same(one, other) -> bool:
    """Whether two nests have the same types and values, image batches in the model's order in memory."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        ordered = one.ndim != 4 or other.is_contiguous(memory_format=torch.channels_last)
        return ordered and torch.equal(one, other)
    if isinstance(one, Targets):
        return same(one.boxes, other.boxes) and one.name == other.name
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@settings(max_examples=30)
@given(nests)
def test_any_nest_reaches_the_device_as_it_is(nest):
    moved = to_device(nest, torch.device("cpu"))
    assert same(nest, moved)


def test_every_tensor_of_a_nest_is_moved():
    nest = {"images": torch.rand(2, 3, 8, 8), "boxes": [Boxes(torch.rand(2, 4), [torch.zeros(1), "a"])], "n": 3}
    nest["targets"] = Targets([torch.rand(1)], "b")
    moved = to_device(nest, torch.device("meta"))
    assert (moved["targets"].boxes[0].device.type, moved["targets"].name) == ("meta", "b")
    assert moved["images"].device.type == moved["boxes"][0].corners.device.type == "meta"
    assert moved["boxes"][0].classes[0].device.type == "meta"
    assert (moved["boxes"][0].classes[1], moved["n"]) == ("a", 3)


def test_images_reach_the_model_in_the_memory_order_it_computes_in():
    images, labels = to_device((torch.rand(2, 3, 8, 8), torch.tensor([0, 1])), torch.device("cpu"))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [0, 1]


class Faulty(Slow):
    """At image 5 something happens."""

    def __init__(self, fault: Callable[[], object]) -> None:
        self.fault = fault

    def __getitem__(self, index: int) -> int:
        if index == 5:
            self.fault()
        return index

    def name(self, index: int) -> str:
        return f"photo-{index}\n.jpg"


def loaded(fault: Callable[[], object], workers: int = 2) -> str:
    """What is said when loading fails so; no process is left."""
    before = set(multiprocessing.active_children())
    dataset = Faulty(fault)
    loader = Loader(dataset, 2, sampler=range(SIZE), workers=workers, name=dataset.name)
    with pytest.raises(LoadingFailed) as caught:
        list(loader)
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    shut_down_workers(loader)
    assert set(multiprocessing.active_children()) <= before
    return str(caught.value)


def throw(error: BaseException) -> None:
    raise error


def sleep_whatever_comes() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(1000)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_hangs_is_told_with_its_image_and_ended(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCVIT_PATIENCE", "3")
    start = time.monotonic()
    said = loaded(sleep_whatever_comes, workers)
    assert "have given nothing for 1.5 s; what they are at: photo-5\\n.jpg. Perhaps" in said
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda: throw(RuntimeError("unable to write to file </torch_7_1>: No space left on device (28)")), SHM),
        (lambda: throw(RuntimeError("unable to allocate shared memory(shm) for file </torch_7_1>: …(12)")), SHM),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), SHM),
        (lambda: throw(RuntimeError("unable to open object </torch_7_1>: Too many open files (24)")), "`ulimit -n`"),
        (lambda: throw(MemoryError()), r"run out of memory. Lower workers \(2\)"),
        (lambda: throw(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")), "run out of memory"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            r"has died \(DataLoader worker .*Killed\).* Lower workers \(2\)",
        ),
    ],
)
def test_what_ends_workers_is_one_line(fault: Callable[[], object], message: str) -> None:
    assert re.search(message, loaded(fault))


class Lost:
    """Its process dies before the other has fetched all of it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple:
        return throw, (self.error,)


class Interrupted(ConnectionResetError):
    """While it is looked at, torch tells of the dead process: it does so wherever it finds the main thread."""

    def __str__(self) -> str:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")


def test_a_death_that_is_told_while_another_error_is_explained_is_what_is_said() -> None:
    dataset = Faulty(lambda: None)
    loader = Loader(
        dataset, 2, sampler=range(SIZE), workers=1, name=dataset.name, collate=lambda _: Lost(Interrupted())
    )
    with pytest.raises(LoadingFailed, match=r"has died \(DataLoader worker .*Killed\).* Lower workers \(1\)"):
        list(loader)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), ConnectionRefusedError(111, "no"), EOFError()])
def test_a_worker_that_dies_while_it_hands_an_image_over_has_died(error: BaseException) -> None:
    dataset = Faulty(lambda: None)
    loader = Loader(dataset, 2, sampler=range(SIZE), workers=1, name=dataset.name, collate=lambda _: Lost(error))
    with pytest.raises(LoadingFailed, match=r"has died \(while it handed an image over: .* Lower workers \(1\)"):
        list(loader)
    shut_down_workers(loader)


class Fetched(Exception):
    """It ends a loop over batches."""


@pytest.mark.parametrize("end", ["finished", "broken off", "an error in the loop", "an error of the dataset"])
@pytest.mark.parametrize("of_epochs", [True, False])
def test_no_process_outlives_its_loader(of_epochs: bool, end: str) -> None:
    """Nobody has closed it, no garbage is collected, and the error is kept with its traceback."""
    before, kept = set(multiprocessing.active_children()), list[Exception]()
    dataset = Faulty(lambda: throw(Fetched()) if end == "an error of the dataset" else None)

    def batches() -> Iterator[Any]:
        if of_epochs:
            return EpochLoader(dataset, Share(4), seed=0, workers=2, device=torch.device("cpu")).epoch(0)
        return iter(Loader(dataset, 4, sampler=range(SIZE), workers=2, name=dataset.name))

    def read() -> None:
        for number, _ in enumerate(batches()):
            assert len(set(multiprocessing.active_children()) - before) == 2
            if number == 3 and end == "broken off":
                return
            if number == 3 and end == "an error in the loop":
                raise Fetched

    gc.disable()
    try:
        read()
    except Fetched as error:
        kept.append(error)
    finally:
        gc.enable()
    assert set(multiprocessing.active_children()) <= before
    assert len(kept) == ("error" in end)


def test_an_iteration_after_one_that_failed_has_all_batches() -> None:
    faults = [lambda: throw(RuntimeError("once"))]
    dataset = Faulty(lambda: faults[0]())
    loader = Loader(dataset, 4, sampler=range(SIZE), workers=1, name=dataset.name)
    with pytest.raises(RuntimeError, match="once"):
        list(loader)
    faults[0] = lambda: None
    assert torch.cat(list(loader)).tolist() == list(range(SIZE))
    shut_down_workers(loader)


@pytest.mark.parametrize("kind", [RuntimeError, ConnectionError, EOFError])
def test_an_error_of_the_dataset_itself_stays_what_it_is(kind: type[Exception]) -> None:
    dataset = Faulty(lambda: throw(kind("a bug of ours")))
    for workers in (0, 1):
        with pytest.raises(kind, match="a bug of ours") as caught:
            list(Loader(dataset, 2, sampler=range(SIZE), workers=workers, name=dataset.name))
        assert not isinstance(caught.value, LoadingFailed)
