"""A run's folder is its own."""

from pathlib import Path

import pytest

from gcvit.engine.folder import claim_folder


def test_numbers_count_up_and_gaps_before_the_first_free_one_are_taken(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert [claim_folder(None, "a", runs).name for _ in range(3)] == ["a-001", "a-002", "a-003"]
    assert claim_folder(None, "b", runs).name == "b-001"
    (runs / "a-002").rmdir()
    assert claim_folder(None, "a", runs) == runs / "a-002"


def test_a_folder_with_something_in_it_or_a_file_is_refused(tmp_path: Path) -> None:
    assert claim_folder(tmp_path / "deep" / "new", "a").is_dir()
    assert claim_folder(tmp_path / "deep" / "new", "a").is_dir()  # still empty
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="has files in it already"):
        claim_folder(tmp_path, "a")
    with pytest.raises(ValueError, match="is a file"):
        claim_folder(tmp_path / "file", "a")
