"""What one process of a run does to the others: none waits for ever, and each says what happened and where."""

import pytest

from apart import ranks
from faults.ranks import lose, tell
from gcvit import distributed
from gcvit.errors import UserError


def test_whatever_rank_0_raises_all_raise() -> None:
    done = [rank.done() for rank in ranks(2, tell)]
    assert [process.returncode for process in done] == [0, 0], done
    ours, theirs = (process.stdout.strip().split(" | ") for process in done)
    assert ours[:8] == theirs[:8] == [
        "UserError: user", "OSError: [Errno 28] full: 'a'", "KeyError: 'key'", "RuntimeError: torch", "MemoryError: ",
        "KeyboardInterrupt: stop", "SystemExit: 3", "AssertionError: ours",
    ]  # fmt: skip
    assert (ours[8], theirs[8]) == ("Odd: odd", "RuntimeError: on rank 0: Odd: odd")
    assert ours[9:] == theirs[9:]
    assert ours[-1] == "{'all': 'well'}"


def test_a_rank_that_does_not_answer_is_named() -> None:
    first, hanging = ranks(2, lose, "hang")
    waiting = first.done()
    hanging.kill()
    hanging.done()
    assert waiting.returncode == 1
    assert waiting.stderr.startswith("rank 1 (")
    assert ") has not answered for 3 s. The same command goes on from the last checkpoint; GCVIT_" in waiting.stderr


def test_a_rank_that_has_ended_is_named_with_its_reason() -> None:
    waiting, ended = (rank.done() for rank in ranks(2, lose, "raise"))
    assert (waiting.returncode, ended.returncode) == (1, 1)
    assert waiting.stderr.startswith("rank 1 (")
    assert ") has ended: UserError: a bad image\\x1b[2J. The same command goes on" in waiting.stderr


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e9", "ten", "9" * 400, "1" * 5000])
def test_patience_is_a_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCVIT_PATIENCE", text)
    with pytest.raises(UserError, match="GCVIT_PATIENCE must be a number of seconds, 1 to 1,000,000, not"):
        distributed.patience()
    monkeypatch.setenv("GCVIT_PATIENCE", "2.5")
    assert distributed.patience().total_seconds() == 2.5
    monkeypatch.delenv("GCVIT_PATIENCE")
    assert distributed.patience().total_seconds() == 600
