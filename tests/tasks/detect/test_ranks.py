"""Two processes, of which one has no object: nobody waits for ever, and both learn the same."""

from pathlib import Path

import torch

from apart import ranks
from tasks.detect import ranks_worker


def test_a_rank_without_objects(tmp_path: Path) -> None:
    for rank in ranks(2, ranks_worker.run, tmp_path):
        done = rank.done()
        assert done.returncode == 0, done.stderr[-2000:]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] is None or not torch.equal(one[name], other[name])] == []
    assert all(grad.isfinite().all() for grad in one.values())
