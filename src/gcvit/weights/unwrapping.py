"""Weights as people save them: inside what, under which prefix, and beside what."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from gcvit.errors import UserError
from gcvit.weights.checks import check_dense
from gcvit.weights.names import MARKS, State, layout_of, renaming
from gcvit.wording import listed

# Where the weights of a training run are looked for before anywhere else.
USUAL = ("", "state_dict", "model", "state_dict_ema", "model_ema")
AVERAGED = {"ema", "swa", "average", "averaged"}  # words that tell averaged weights
DEEPEST = 3  # mappings inside each other
MOST_PREFIXES = 8  # more than one is one too many

# Parts that DistributedDataParallel and AveragedModel, torch.compile, FSDP and activation checkpointing put into names.
WRAPPERS = re.compile(r"(^|(?<=\.))(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Counters beside the weights: of AveragedModel, and of profilers.
COUNTERS = re.compile(r"(^|\.)(n_averaged|total_ops|total_params)$")


@dataclass(frozen=True)
class Candidate:
    """A GC ViT's weights in what was saved: `where` by its keys, under `prefix` in their names."""

    where: str
    prefix: str
    averaged: bool
    state: State
    beside: dict[str, object]

    def __str__(self) -> str:
        return ".".join(filter(None, (self.where, self.prefix.rstrip(".")))) or "those without a prefix"


def unwrap(content: object, origin: str, *, ema: bool = False) -> tuple[State, dict[str, object]]:
    """The state dict of a GC ViT inside what a training run saved, and what is beside it and no part of it, by name.

    The prefixes of wrappers are gone, in whatever order they were, and so is one that all its names share, such as
    `model.`, `backbone.` or `student.`. ema: the averaged weights; otherwise these are taken only where no others are.
    Raises UserError, naming `origin` and what is there, when there is no GC ViT, no averaged one though `ema` asks for
    it, more than one, or when two tensors have the same name; and as `check_dense` does.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{origin}: holds a {type(content).__name__}, not a state dict")
    found = [candidate for where, mapping in _mappings(content) for candidate in _candidates(where, mapping)]
    if not found:
        raise UserError(f"{origin}: {_nothing(content)}")
    wanted = [candidate for candidate in found if candidate.averaged == ema]
    if ema and not wanted:
        raise UserError(f"{origin}: no averaged weights (such as state_dict_ema) in it, only {listed(found)}")
    chosen = _choose(wanted or found, origin)
    state = {bare(name)[len(chosen.prefix) :]: tensor for name, tensor in chosen.state.items()}
    if len(state) < len(chosen.state):
        ((twice, _),) = Counter(map(bare, chosen.state)).most_common(1)
        raise UserError(f"{origin}: two tensors in it are called {twice} when the prefixes of wrappers are left out")
    check_dense(state, origin)
    return state, chosen.beside


def _mappings(content: Mapping) -> Iterator[tuple[str, Mapping]]:
    """The mapping itself and those in it, each once, with the keys that lead to it."""
    level, seen = [("", content)], {id(content)}
    for _ in range(DEEPEST):
        yield from level
        inner = [(f"{where}.{key}".lstrip("."), value) for where, above in level for key, value in above.items()]
        level = []
        for where, value in inner:
            if isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                level.append((where, value))
    yield from level


def _candidates(where: str, mapping: Mapping) -> Iterator[Candidate]:
    """Every GC ViT in one mapping, told by the name that only one of the layouts has."""
    tensors = {name: x for name, x in mapping.items() if isinstance(name, str) and isinstance(x, Tensor)}
    names = {name: bare(name) for name in tensors}
    found = {
        name.removesuffix(mark)
        for name in names.values()
        for mark in MARKS.values()
        if name == mark or name.endswith(f".{mark}")
    }
    prefixes = sorted(found)[:MOST_PREFIXES]
    for prefix in prefixes:
        inner = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))
        own = [n for n, name in names.items() if name.startswith(prefix) and not (inner and name.startswith(inner))]
        counters = {name for name in own if COUNTERS.search(name)}
        words = re.split(r"[\W_]+", f"{where}.{prefix}".lower())
        averaged = not AVERAGED.isdisjoint(words) or any(name.endswith("n_averaged") for name in counters)
        state = {name: tensors[name] for name in own if name not in counters}
        beside = {str(n): x for n, x in mapping.items() if n not in state and not COUNTERS.search(str(n))}
        yield Candidate(where, prefix, averaged, state, beside)


def _choose(candidates: list[Candidate], origin: str) -> Candidate:
    """The only one; of several those in the usual place, and of these those that are GC ViTs by most of their names."""
    places = {candidate.where for candidate in candidates}
    usual = next((place for place in USUAL if place in places), None)
    candidates = [candidate for candidate in candidates if usual in (None, candidate.where)]
    likely = [candidate for candidate in candidates if len(candidates) == 1 or _is_gcvit(candidate)]
    if len(likely) == 1:
        return likely[0]
    raise UserError(
        f"{origin}: holds the weights of several models: {listed(likely or candidates)}; save those that you mean in a "
        f"file of their own"
    )


def _is_gcvit(candidate: Candidate) -> bool:
    names = [bare(name)[len(candidate.prefix) :] for name in candidate.state]
    layout = layout_of(names)
    return layout is not None and 2 * sum(name in renaming(layout) for name in names) > len(names)


def bare(name: str) -> str:
    """Without the prefixes of wrappers."""
    return WRAPPERS.sub("", name)


def _nothing(content: Mapping) -> str:
    """What to say of a file without a GC ViT."""
    for _, mapping in _mappings(content):
        if names := [str(name) for name, value in mapping.items() if isinstance(value, Tensor)]:
            return f"not a GC ViT's weights; the first names are {listed(names, 4)}"
    return f"no state dict in it; it holds {listed(list(map(str, content)), 8) if content else 'nothing'}"
