"""Classes by name: which output of a model stands for which class of the data, and rows of weights by class."""

from collections.abc import Sequence

from torch import Tensor

from gcvit.data.segment_folders import generic_names
from gcvit.errors import UserError
from gcvit.wording import listed


def match_classes(
    known: Sequence[str] | None, outputs: int, found: Sequence[str], *, source: str, data: str
) -> list[int]:
    """For each class that is found in the data, the model's output that stands for it: that of the same name or, where
    one of the two has no names (none at all, or "class 0", …), of the same number.

    known: the model's names by output. outputs: their number.
    Raises UserError, saying what both have, for classes that the model does not know, and for another number of them.
    """
    if known is not None and all(list(names) != generic_names(len(names)) for names in (known, found)):
        place = {name: output for output, name in enumerate(known)}
        if unknown := [name for name in found if name not in place]:
            raise UserError(
                f"{data}: classes that {source} was not trained on: {listed(unknown, show=repr)}; it knows "
                f"{listed(known, show=repr)}. Other data are given as --data PATH"
            )
        return [place[name] for name in found]
    if outputs != len(found):
        names = " and no class names" if known is None else f", {listed(known, show=repr)}"
        raise UserError(
            f"{source} has {outputs} outputs{names}, so {data} needs as many classes, in the order of the outputs; it "
            f"has {len(found)}, {listed(found, show=repr)}"
        )
    return list(range(outputs))


def rows_by_name(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """The place of each class in `theirs` and its place in `ours`, of the names that stand once in both."""
    return {theirs.index(name): ours.index(name) for name in theirs if theirs.count(name) == ours.count(name) == 1}


def with_rows(weight: Tensor, theirs: Tensor, rows: dict[int, int]) -> Tensor:
    """`weight`, a row for each class, with the rows of `theirs` that have a class of the same name (`rows_by_name`)."""
    result = weight.clone()
    for there, here in rows.items():
        result[here] = theirs[there]
    return result


def rows_note(ours: Sequence[str], known: Sequence[str], count: int) -> str:
    """What became of a classifier's rows: `known` of our classes were among the `count` in the weights."""
    if len(known) == len(ours):
        return f"the classifier's rows are those of the {len(ours)} classes of these names, of {count} in the weights"
    fresh = [name for name in ours if name not in known]
    return (
        f"FRESH rows in the classifier for {len(fresh)} of {len(ours)} classes, whose names are not among the {count} "
        f"in the weights: {listed(fresh, 10)}"
    )
