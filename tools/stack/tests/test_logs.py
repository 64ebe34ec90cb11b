from pathlib import Path

from tools.stack.logs import follow, last_lines, rotate


def test_a_log_over_the_limit_is_rotated_under_its_writer(tmp_path: Path) -> None:
    """The content moves aside, the writer's open file goes on, and there are never more than two files."""
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        for word in (b"one\n", b"two\n", b"three\n"):
            writer.write(word * 100)
            rotate(log, 200)
        writer.write(b"four\n")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.log": b"four\n",
        "a.log.1": b"three\n" * 100,
    }


def test_a_log_within_the_limit_stays(tmp_path: Path) -> None:
    """Nothing happens to a small log, or to one that is not there."""
    log = tmp_path / "a.log"
    log.write_text("line\n")
    rotate(log, 5)
    rotate(tmp_path / "none.log", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


def test_the_last_lines_reach_into_the_rotated_file(tmp_path: Path) -> None:
    """Oldest first, as many as asked for or as there are, whatever their length."""
    (tmp_path / "a.log.1").write_text("".join(f"{number} {'x' * 1000}\n" for number in range(200)))
    log = tmp_path / "a.log"
    log.write_text("200\n201\n")
    assert last_lines(log, 1) == ["201"]
    assert [line.split()[0] for line in last_lines(log, 150)] == [str(number) for number in range(52, 202)]
    assert len(last_lines(log, 1000)) == 202
    assert last_lines(log, 0) == last_lines(tmp_path / "none.log", 5) == []


def test_new_lines_are_followed(tmp_path: Path) -> None:
    """Only whole lines written from now on, also of a log that appears later, also after a log was emptied."""
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    old.write_text("before\n")
    lines = follow([old, new])
    with old.open("a") as writer:
        writer.write("first\nhal")
        writer.flush()
        assert next(lines) == (old, "first")
        new.write_text("other\n")
        assert next(lines) == (new, "other")
        writer.write("f\n")
    assert next(lines) == (old, "half")
    old.write_text("a\n")
    assert next(lines) == (old, "a")
