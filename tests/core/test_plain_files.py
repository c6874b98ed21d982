"""Text, JSON, YAML and tables from outside: read as people and programs write them, refused where they would hurt."""

import gzip
import os
import sys

import pytest
import yaml

from napari_medvlsm.core.plain_files import (
    MOST_BYTES,
    check_yaml,
    is_system_file,
    is_there,
    read_bytes,
    read_json,
    read_table,
    read_text,
    read_yaml,
    shown,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a file"


@pytest.mark.parametrize(
    "name", [".DS_Store", "._scan.png", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints", "@eaDir"]
)
def test_what_systems_leave_behind_is_told(name, tmp_path):
    assert is_system_file(tmp_path / name) and is_system_file(name)
    assert not is_system_file(tmp_path / ".hidden" / "scan.png")


def test_names_that_no_system_can_have_are_of_no_file(path):
    for name in ("x" * 5000, "a\0b"):
        assert not is_there(path.parent / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_as_any_program_writes_it(path, encoding, delimiter):
    rows = [["image", " mask "], ["a,b;c\n.png", "größe.png"], ["", ""], ["c.png", ""]]
    text = "\r\n".join(delimiter.join(f'"{v}"' if "\n" in v or delimiter in v else v for v in row) for row in rows)
    path.write_bytes(text.encode(encoding))
    assert read_table(path, "image", "mask") == [
        {"image": "a,b;c\n.png", "mask": "größe.png"},
        {"image": "c.png", "mask": ""},
    ]


def test_excel_may_say_what_parts_the_columns(path):
    path.write_text("sep=;\nimage;mask, or none\n1.png;2.png\n")
    assert read_table(path) == [{"image": "1.png", "mask, or none": "2.png"}]


def test_long_fields_are_read_and_too_long_ones_refused(path):
    path.write_text(f"image,mask\n{'x' * 300_000},b\n")
    assert len(read_table(path)[0]["image"]) == 300_000
    path.write_text(f"image,mask\n{'x' * 2_000_000},b\n")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        read_table(path)


def test_tables_that_do_not_fit_their_head(path):
    path.write_text("image,mask\n1.png,2.png,3.png\n")
    with pytest.raises(ValueError, match="line 2: 3 fields where the head has 2"):
        read_table(path)
    path.write_text("picture,mask\n")
    with pytest.raises(ValueError, match="lacks the column 'image'; it has picture, mask"):
        read_table(path, "image")
    path.write_bytes("image\nköln.png".encode("latin-1"))
    with pytest.raises(ValueError, match=r"no text in UTF-8 \(byte 7\)"):
        read_table(path)


def test_a_packed_file_is_not_unpacked_without_end(path):
    path.write_bytes(gzip.compress(bytes(MOST_BYTES + 1)))
    with pytest.raises(ValueError, match="more than 64 MB"):
        read_bytes(path)
    path.write_bytes(gzip.compress(b"[1]"))
    assert read_json(path) == [1]
    path.write_bytes(gzip.compress(b"[1]")[:-6])
    with pytest.raises(ValueError, match="cannot be read"):
        read_json(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes and links")
def test_pipes_and_links_in_circles_are_no_files(path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is no file"):
        read_text(path)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ValueError, match="cannot be read"):
        read_text(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "brackets within brackets"),
        ('{"a":' * 100 + "1" + "}" * 100, "brackets within brackets"),
        ("9" * 5000, "no valid JSON"),
        ("{", "no valid JSON"),
    ],
)
def test_hostile_json_gives_one_sentence(path, text, words):
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_json(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "unfolds to more than"),
        ("a: &a [*a]", "part of itself"),
        ("[" * 100 + "]" * 100, "brackets within brackets"),
        ("- " * 100 + "x", "brackets within brackets"),
        ("a: 2001-99-99", "no valid YAML"),
        ("a: " + "9" * 5000, "no valid YAML"),
        ("!!python/object/apply:os.getcwd []", "no valid YAML"),
        ("a: [", "no valid YAML"),
    ],
)
def test_hostile_yaml_gives_one_sentence(path, text, words):
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_yaml(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_aliases_are_allowed_and_a_mark_at_the_start(path):
    path.write_text("\ufeffa: &a {b: 1}\nc: *a\n", "utf-8")
    assert read_yaml(path) == {"a": {"b": 1}, "c": {"b": 1}}
    check_yaml(yaml.safe_dump({"a": list(range(10_000))}), path)


def test_what_a_file_holds_is_shown_on_one_short_line():
    assert shown("a\nb\0 c") == "a b c" and shown(7) == "7"
    assert shown("x" * 10**6, 50) == f"{'x' * 20}...{'x' * 27}"
