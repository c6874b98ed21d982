"""One rule for what belongs together."""

import pytest

from napari_medvlsm.core.datasets.groups import grouped_by, read_groups, tidy


def test_the_first_that_knows_counts(tmp_path):
    (tmp_path / "sequences.csv").write_text("image,sequence\na.png,3\npatient7.png,\n")
    (tmp_path / "licences.csv").write_text("image,url\na.png,http://x\n")
    groups = read_groups(tmp_path)
    assert groups.of("a.png", own="patient 4") == "patient 4"
    assert groups.of("a.png") == "sequence 3"
    assert groups.of("patient7.png") == "patient 7" and groups.of("other.png") == ""
    # Names are patients only where they begin with one; equal ones in two parts are two.
    assert groups.of("outpatient7.png") == "" and groups.of("patient7.png", part="test") == "patient test/7"
    (tmp_path / "sequences.csv").unlink()
    assert read_groups(tmp_path).of("a.png") == "case http://x"


def test_a_column_that_is_named_stands_alone(tmp_path):
    (tmp_path / "patients.csv").write_text("image,patient\na.png,1\n")
    (tmp_path / "more.csv").write_text("image,clinic\na.png,north\n")
    groups = read_groups(tmp_path, "clinic")
    assert groups.of("a.png", own="patient 4") == "clinic north" and groups.of("patient7.png") == ""
    with pytest.raises(ValueError, match=r"No table in .* has the columns 'image' and 'ward'"):
        read_groups(tmp_path, "ward")


def test_a_table_is_read_as_people_write_it(tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("Image;PATIENT\na.png;1\nb;2\npart/c;3\n")
    groups = read_groups(tmp_path)
    assert [groups.of(name) for name in ("a.png", "b.png", "part/c.png")] == ["patient 1", "patient 2", "patient 3"]
    assert groups.of("c.png") == groups.of("/") == ""
    assert read_groups(tmp_path, "patient").of("b.png") == "patient 2"
    # A group that is not known would let a patient into two splits.
    table.write_text("image,patient_id\na.png,1\n")
    with pytest.raises(ValueError, match=r"lacks the column 'patient', .* it has image, patient_id\. Give the column"):
        read_groups(tmp_path)
    assert read_groups(tmp_path, "patient_id").of("a.png") == "patient_id 1"
    table.write_text("image,patient,patient\na.png,1,2\n")
    with pytest.raises(ValueError, match="has the column 'patient' twice"):
        read_groups(tmp_path)


@pytest.mark.parametrize(
    ("given", "group"),
    [
        ("patient 7", "patient 7"),
        ("7", "group 7"),
        (" patient  7 ", "patient 7"),
        ("", ""),
        ("patient", "group patient"),
    ],
)
def test_groups_say_their_kind(given, group):
    assert tidy(given) == group


def test_what_images_are_grouped_by_is_said():
    assert grouped_by(["patient 1", "patient 2"]) == "patient"
    assert grouped_by(["patient 1", ""]) == "patient or image" and grouped_by(["", ""]) == "image" == grouped_by([])
