"""Runs are resumed, tables come from the file alone, the picture shows them."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from gcvit.bench import claims, claims_page
from gcvit.bench.claims import ARMS, Solver, lines, run_claims
from gcvit.bench.puzzles import PUZZLES
from gcvit.bench.settings import ArmName, PuzzleBudget, PuzzleName
from gcvit.bench.study import read_rows
from gcvit.cli import bench_claims
from gcvit.errors import UserError

TINY = ["--steps", "2", "--batch-size", "2", "--scenes", "16", "--dim", "16", "--seeds", "2", "--device", "cpu"]


def row(arm: str, seed: int, accuracy: list[float], puzzle: str = "select") -> dict:
    return {
        "puzzle": puzzle,
        "arm": arm,
        "seed": seed,
        "parameters": 1234,
        "macs": 2_000_000,
        "accuracy": accuracy,
        "bits": [0.5, 0.25, 0.0],
        "budget": {"steps": 2},
    }


def test_the_command_trains_resumes_and_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "out"), "--puzzles", "copy", *TINY, "--arms"]
    bench_claims.run([*words, "gcvit", "local", "local"])
    shown = capsys.readouterr().out
    rows = read_rows(tmp_path / "out/results.jsonl")
    assert [(r["puzzle"], r["arm"], r["seed"]) for r in rows] == [
        ("copy", arm, seed) for seed in (0, 1) for arm in ("gcvit", "local")
    ]
    assert [r["accuracy"] for r in rows if r["arm"] == "local"] == [[0.25] * 3] * 2
    assert "25.0 ± 0.0" in shown
    assert f"gcvit bench claims --out {tmp_path / 'out'}-8 --puzzles copy --arms gcvit local --seeds 2" in shown
    assert "--steps 8 --batch-size 2 --dim 16 --scenes 16\n" in shown
    assert f"written: {tmp_path / 'out/results.jsonl'}" in shown
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"claims.md", "claims.png", "claims.svg"}
    page = (tmp_path / "out/claims.md").read_text()
    for text in (shown, page):
        assert "2 steps of 2 pictures, peak rate 0.003, width 16, one stage at 64 px" in text
        assert "*: not chance, †: not the first arm's" in text
        assert "on processor " in text
    assert "- local: two local blocks" in page

    trained = []
    one_run = claims.one_run
    monkeypatch.setattr(claims, "one_run", lambda *given: trained.append(given[1]) or one_run(*given))
    bench_claims.run([*words, "gcvit", "local", "kv"])
    assert trained == [ARMS["kv"]] * 2
    assert read_rows(tmp_path / "out/results.jsonl")[:4] == rows

    with pytest.raises(UserError, match="another budget: steps: 2 → 3"):
        run_claims(tmp_path / "out", PuzzleBudget(3, 2, dim=16, scenes=16))


def test_the_same_run_is_the_same() -> None:
    budget = PuzzleBudget(3, 2, dim=16, scenes=16)
    first, again, other = (
        claims.one_run(PUZZLES["select"], ARMS["gcvit"], budget, seed, torch.device("cpu")) for seed in (0, 0, 1)
    )
    assert first["bits"] == again["bits"] != other["bits"]


def test_the_long_form_has_four_stages() -> None:
    budget = PuzzleBudget(1, 2, dim=16, scenes=16, long=True)
    one = PuzzleBudget(1, 2, dim=16, scenes=16)
    long, short = (
        claims.one_run(PUZZLES["select"], ARMS["local"], each, 0, torch.device("cpu")) for each in (budget, one)
    )
    assert long["parameters"] > 20 * short["parameters"]
    assert long["macs"] > 16 * short["macs"]
    assert long["accuracy"] == short["accuracy"] == [0.5] * 3
    everywhere = Solver(ARMS["full"], 16, 4, long=True)
    assert [stage.window for stage in everywhere.stages] == [(side, side) for side in (64, 32, 16, 8)]


def test_learning_finds_what_can_be_found() -> None:
    """In a few seconds: far values reach an empty window."""
    budget = PuzzleBudget(80, 4, lr=5e-3, dim=16, scenes=16)
    found = claims.one_run(PUZZLES["copy_empty"], ARMS["kv"], budget, 0, torch.device("cpu"))
    assert min(found["accuracy"]) > 0.6


def test_lines_are_what_the_file_says() -> None:
    rows = [row("gcvit", seed, [1.0, 0.9 + seed / 100, 0.5]) for seed in range(3)]
    rows += [row("local", seed, [0.5, 0.5, 0.5]) for seed in range(3)]
    near, middle, far, *local = lines(list(reversed(rows)))
    assert (near.arm, near.distance, near.seeds, near.accuracy, near.deviation) == ("gcvit", 1, 3, 1.0, 0.0)
    assert (near.p, near.p_first) == (None, None)  # all alike
    assert (middle.accuracy, middle.deviation) == (pytest.approx(0.91), pytest.approx(0.01))
    assert middle.p is not None
    assert 0 < middle.p < 0.001
    assert far.p == 1
    assert [line.p_first for line in local] == [None, pytest.approx(middle.p), 1.0]
    assert [line.bits for line in local] == [0.5, 0.25, 0.0]


def test_tables_are_made_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it says: nothing is trained that is there."""
    budget = {"steps": 2, "batch_size": 2, "lr": 3e-3, "dim": 16, "scenes": 16}
    rows = [row("full", seed, [0.99, 0.98 - seed / 500, 0.5]) | {"budget": budget} for seed in range(2)]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    bench_claims.run(["--out", str(tmp_path), "--puzzles", "select", "--arms", "full", *TINY])
    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "99.0 ± 0.0 " in shown
    assert "97.9 ± 0.1*" in shown
    page = (tmp_path / "claims.md").read_text()
    assert "| select | full | 2 | 0.9790 | 0.0014 | 0.2500 | 0.0013 | – |" in page


def test_a_stop_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claims, "one_run", stop)
    with pytest.raises(KeyboardInterrupt, match=r"results\.jsonl has 0 finished runs; the same command goes on"):
        run_claims(tmp_path, PuzzleBudget())


def test_rounding_has_no_sign() -> None:
    found = lines([row("local", 0, [0.5] * 3) | {"bits": [-1e-5] * 3}])
    assert claims_page.rows_of(found, "select")[0][-1] == "0.00 0.00 0.00"


@pytest.mark.parametrize(("setting", "value"), [("steps", 0), ("dim", 40), ("lr", 0.0), ("scenes", 15)])
def test_settings_out_of_range_are_named(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{setting} must be"):
        PuzzleBudget(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", ["--puzzles", "--arms"])
def test_at_least_one_is_asked_for(flag: str) -> None:
    with pytest.raises(UserError, match=f"^{flag} must be at least one"):
        bench_claims.run([flag])


def test_flags_offer_all_there_is() -> None:
    assert (get_args(PuzzleName), get_args(ArmName)) == (tuple(PUZZLES), tuple(ARMS))
