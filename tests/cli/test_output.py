"""What the commands print survives a stdout without Unicode, and names that rich would read as markup."""

import io
import sys
import time

import pytest

from gcvit.cli.output import complain, counter, say, status, table, track


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str) -> list[str]:
    """A table and a line as they arrive on a stdout of that encoding, strict as Python's is."""
    content = io.BytesIO()
    with monkeypatch.context() as patch:
        stdout = io.TextIOWrapper(content, encoding=encoding)
        patch.setattr(sys, "stdout", stdout)
        table(["größe", ">share"], [["cat", "9.5%"], ["日本", "10.0%"]])
        say("64×64")
    stdout.flush()
    return content.getvalue().decode(encoding).splitlines()


def test_a_table_arrives_whole_where_stdout_has_no_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, heading, rule, cat, japan, size = printed(monkeypatch, "ascii")
    assert (empty, size) == ("", "64\\xd764")
    assert [row.replace("|", " ").split() for row in (heading, cat, japan)] == [
        ["gr\\xf6\\xdfe", "share"], ["cat", "9.5%"], ["\\u65e5\\u672c", "10.0%"]
    ]  # fmt: skip
    assert set(rule) <= {"-", "+", "|"}
    assert len({len(heading), len(rule), len(cat), len(japan)}) == 1  # escapes too are in line
    assert printed(monkeypatch, "utf-8")[4].split() == ["日本", "10.0%"]


def test_a_terminal_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    table(["class"], [["\x1b[2Jcat\x9b"]])
    say("\n\x07\tdog\nbird")
    complain("\x1b]0;fish")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[3:] == [r"\x1b[2Jcat\x9b", "", r"\x07\tdog\nbird"]
    assert r"\x1b]0;fish" in printed.err


@pytest.mark.parametrize("name", ["runs[/x]", "runs[red]", "runs\\[b]"])
def test_a_name_is_no_markup_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for variable, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100"), ("NO_COLOR", "1")):
        monkeypatch.setenv(variable, value)
    with counter(f"evaluating {name}") as progress:
        progress(1, 2)
    assert f"evaluating {name}" in capsys.readouterr().err
    assert list(track([1, 2], f"writing {name}")) == [1, 2]
    assert f"writing {name}" in capsys.readouterr().err
    with status() as show:
        show(f"measuring {name}")
    assert f"measuring {name}" in capsys.readouterr().err


def test_a_file_is_told_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with counter("measuring") as progress:
        for done in range(1, 6):
            now += 10.0
            progress(done, 10)
    assert capsys.readouterr().err == "measuring: 2 of 10; 0:01:20 left\nmeasuring: 4 of 10; 0:01:00 left\n"
