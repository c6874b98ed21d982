import re
import sys
from pathlib import Path

import pytest

from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.prompts.own_words import OWN_WORDS_VARIABLE, OwnWords, own_words_path

COMMENTED = """\
# My words, 2026

targets:
  # seen on Mondays
  spleen:  # the milt
    label: Spleen  # shown
    synonyms:
      - milt  # german
      - lien
      # more to come

  # the liver
  liver:
    label: Liver
# colours and shapes
attributes:
  color:
    # between red and brown
    rust: [rusty]  # nice
    # not ready: teal
    ochre: []
  # as in music
  shape: [crescent]
# the end
"""
COMMENTS = [
    "# My words, 2026",
    "# seen on Mondays",
    "# more to come",
    "# the liver",
    "# colours and shapes",
    "# between red and brown",
    "# not ready: teal",
    "# as in music",
    "# the end",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my words" / "vocabulary.yaml"


@pytest.fixture
def commented(path):
    path.parent.mkdir()
    path.write_text(COMMENTED, "utf-8")
    return OwnWords.read(path)


def read(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return OwnWords.read(path)


def lines(path):
    return [line.strip() for line in path.read_text("utf-8").splitlines()]


def comments(path):
    """The lines of comment, in order."""
    return [line for line in lines(path) if line.startswith("#")]


def below(path, comment):
    """The line under a comment, other comments and empty lines aside."""
    rest = lines(path)[lines(path).index(comment) :]
    return next(line for line in rest if line and not line.startswith("#"))


# Read --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "---\n", "{}", "targets:\nattributes:\nmodalities:\n"])
def test_empty_files_hold_no_words(path, text):
    assert not any(read(path, text).content.values())
    assert load_vocabulary(path).targets == load_vocabulary().targets


def test_a_file_that_does_not_exist_is_empty(path):
    assert OwnWords.read(path).content == {} and not path.parent.exists()


def test_every_key_is_optional_and_lists_may_be_short(path):
    words = read(
        path,
        'version: "1"\n'
        "targets:\n"
        "  Peyer patch:\n"
        "  polyp: {label: ' My polyp ', lateralised: true, display_color: '#Ff8800', synonyms: }\n"
        "attributes:\n"
        "  color: [puce, no]\n"
        "  shape:\n    crescent: [moon]\n    flat:\n"
        "  view:\n"
        "modalities:\n  CT: {absent: [hoof]}\n  MRI:\n",
    )
    assert words.content == {
        "version": "1",
        "targets": {
            "Peyer patch": {},
            "polyp": {"label": "My polyp", "lateralised": True, "display_color": "#Ff8800", "synonyms": []},
        },
        "attributes": {"color": {"puce": [], "no": []}, "shape": {"crescent": ["moon"], "flat": []}, "view": {}},
        "modalities": {"CT": {"absent": ["hoof"]}, "MRI": {}},
    }
    assert load_vocabulary(words).targets["Peyer patch"].label == "Peyer patch".capitalize()


@pytest.mark.parametrize(
    "text",
    ["\ufefftargets: {spleen: {}}", "targets:\r\n  spleen: {}\r\n", "targets: &a {spleen: {}}\nmodalities: {}\n"],
)
def test_files_of_other_editors_are_read(path, text):
    assert read(path, text).content["targets"] == {"spleen": {}}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("targets:\n  polyp:\n    colour: [red]\n", "line 3, targets.polyp.colour", "did you mean 'colors'?"),
        ("target: {}\n", "line 1, target", "did you mean 'targets'?"),
        ("targets:\n  polyp:\n    qwzx: 1\n", "line 3, targets.polyp.qwzx", "this key is not known here."),
        ("targets:\n  polyp:\n    label: 3\n", "line 3, targets.polyp.label", "expected text, but it is 3"),
        ("targets:\n  3: {}\n", "line 2, targets.3", "in quotation marks"),
        ("targets:\n  polyp:\n    label: ''\n", "line 3, targets.polyp.label", "a word is empty"),
        ("targets:\n  polyp:\n    label: 'a {b}'\n", "line 3, targets.polyp.label", "cannot hold any of { } [ ] |"),
        ("targets:\n  '--': {}\n", "line 2, targets.--", "needs a letter or a digit"),
        ("targets:\n  polyp:\n    label: |\n      a\n      b\n", "line 3, targets.polyp.label", "'a\\nb"),
        (f"targets:\n  polyp:\n    label: {'x' * 500}\n", "line 3, targets.polyp.label", "at most 120 characters"),
        ("targets:\n  polyp:\n    synonyms: adenoma\n", "line 3, targets.polyp.synonyms", "a list such as [one, two]"),
        ("targets:\n  polyp:\n    synonyms:\n      - ok\n      - 7\n", "line 5, targets.polyp.synonyms.1", "it is 7"),
        ("targets:\n  polyp:\n    lateralised: maybe\n", "line 3, targets.polyp.lateralised", "true or false"),
        ("targets:\n  polyp:\n    display_color: red\n", "line 3, targets.polyp.display_color", "#ff8800"),
        ("targets:\n  polyp:\n    family: mri\n", "line 3, targets.polyp.family", "one of photographic"),
        ("targets:\n  - polyp\n", "line 1, targets", "expected keys with values below"),
        ("targets:\n  polyp: round\n", "line 2, targets.polyp", "expected keys with values below"),
        ("attributes:\n  texture: [soft]\n", "line 2, attributes.texture", "one of number, size"),
        ("attributes:\n  target: [soft]\n", "line 2, attributes.target", "one of number, size"),
        ("attributes:\n  color: [red, 12]\n", "line 2, attributes.color", "a list of words"),
        ("attributes:\n  color: [[a, b]]\n", "line 2, attributes.color", "a list of words"),
        ("attributes:\n  color: [a: b]\n", "line 2, attributes.color", "a list of words"),
        ("attributes:\n  color: puce\n", "line 2, attributes.color", "expected keys with values below"),
        ("attributes:\n  color:\n    red: [a, '']\n", "line 3, attributes.color.red.1", "a word is empty"),
        ("modalities:\n  CT:\n    absent: 5\n", "line 3, modalities.CT.absent", "a list such as"),
        ("version: 2\n", "line 1, version", "in quotation marks"),
        ("- polyp\n", "top", "expected keys with values below"),
        ("polyp\n", "top", "expected keys with values below"),
        ("targets:\n  polyp: {}\n  polyp: {}\n", "line 3", 'duplicate key "polyp"'),
        ("targets:\n\tpolyp: {}\n", "line 2", "cannot start any token"),
        ("targets: {polyp: {}\n", "line 2", "expected ',' or '}'"),
        ("version: '1'\n---\nversion: '2'\n", "line 2", "another document"),
        ("targets: *nobody\n", "line 1", "undefined alias"),
        ("[" * 600 + "]" * 600, "", " has more than 64 brackets within brackets"),
        ("[" * 20_000, "", " has more than 64 brackets within brackets"),
        ("targets:\n  polyp: {label: 2024-13-45}\n", "", "cannot be read (month must be in 1..12"),
        ("targets:\n  polyp: {label: a\x07}\n", "", "unacceptable character"),
        (b"targets:\n  \xff\xfe: {}\n", "", "save it as UTF-8"),
    ],
)
def test_every_mistake_names_file_line_and_key(path, text, where, what):
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        read(path, text)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}{', ' if where else ''}{where}") and len(sentence) < len(str(path)) + 350
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_folder_in_the_place_of_the_file_gives_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        OwnWords.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "targets: !!python/object/apply:pathlib.Path.touch [{}]\n",
        "targets:\n  polyp:\n    synonyms: !!python/object/apply:builtins.open ['{}', w]\n",
        "targets:\n  polyp:\n    label: !!python/object/new:os.system ['touch {}']\n",
        "!!python/object:os.x {{targets: {{polyp: {{label: '{}'}}}}}}\n",
        "targets:\n  polyp:\n    label: !mine '{}'\n",
    ],
)
def test_tags_run_nothing_and_are_refused(path, text):
    proof = path.parent / "proof"
    with pytest.raises(ValueError, match=r"line \d: the tag .* is not known here"):
        read(path, text.format(proof))
    assert not proof.exists()


def test_aliases_within_aliases_do_not_grow(path):
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
    with pytest.raises(ValueError, match="unfolds to more than"):
        read(path, f"{levels}attributes: {{color: *a11}}\n")


def test_where_the_file_lies(monkeypatch, tmp_path):
    monkeypatch.setenv(OWN_WORDS_VARIABLE, str(tmp_path / "mine.yaml"))
    assert own_words_path() == tmp_path / "mine.yaml"
    monkeypatch.delenv(OWN_WORDS_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert own_words_path().name == "vocabulary.yaml"
    assert not sys.platform.startswith("linux") or own_words_path().is_relative_to(tmp_path)


# Change and write --------------------------------------------------------------------------------------------------


def test_a_first_word_makes_the_file(path):
    words = OwnWords.read(path).changed("spleen", {"label": "Milz", "synonyms": ["milt"]})
    assert not path.exists()
    words.write()
    assert path.read_text("utf-8").startswith("# Your own words")
    assert (
        OwnWords.read(path).content == words.content == {"targets": {"spleen": {"label": "Milz", "synonyms": ["milt"]}}}
    )
    words.with_attribute("color", ["息肉"]).write()
    assert lines(path)[0].startswith("# Your own words") and len(comments(path)) == 1
    assert OwnWords.read(path).content["attributes"] == {"color": {"息肉": []}} and "息肉" in path.read_text("utf-8")


def test_writing_without_a_change_loses_nothing(path, commented):
    commented.write()
    assert comments(path) == COMMENTS and OwnWords.read(path).content == commented.content
    for words in ("# the milt", "# shown", "# german", "# nice"):
        assert words in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "target"),
    [
        (lambda w: w.changed("spleen", None), {"spleen": None}),
        (lambda w: w.changed("liver", None), {"liver": None}),
        (lambda w: w.changed("spleen", {}), {"spleen": {}}),
        (lambda w: w.changed("spleen", {"synonyms": ["lien", "S"]}), {"spleen": {"synonyms": ["lien", "S"]}}),
        (lambda w: w.changed("liver", {"label": "L", "plural": "Ls"}), {"liver": {"label": "L", "plural": "Ls"}}),
        (lambda w: w.changed("kidney", {"lateralised": True}), {"kidney": {"lateralised": True}}),
    ],
)
def test_comments_survive_a_change_of_a_target(path, commented, change, target):
    words = change(commented)
    words.write()
    again = OwnWords.read(path)
    expected = {k: v for k, v in (commented.content["targets"] | target).items() if v is not None}
    assert again.content == words.content == commented.content | {"targets": expected}
    assert comments(path) == COMMENTS
    assert below(path, "# colours and shapes") == "attributes:" and below(path, "# as in music").startswith("shape:")
    if "liver" in expected:
        assert below(path, "# the liver") == "liver:"
    if target == {"kidney": {"lateralised": True}}:
        assert lines(path).index("kidney:") < lines(path).index("# colours and shapes")


@pytest.mark.parametrize(
    ("attribute", "words", "content"),
    [
        ("color", ["ochre", "navy"], {"ochre": [], "navy": []}),
        ("color", ["navy", "rust"], {"navy": [], "rust": ["rusty"]}),
        ("color", [], None),
        ("shape", ["crescent", "bean"], {"crescent": [], "bean": []}),
        ("size", ["gigantic"], {"gigantic": []}),
    ],
)
def test_comments_and_synonyms_survive_a_change_of_an_attribute(path, commented, attribute, words, content):
    commented.with_attribute(attribute, words).write()
    found = OwnWords.read(path).content
    before = commented.content["attributes"]
    assert found["attributes"] == {k: v for k, v in (before | {attribute: content}).items() if v is not None}
    assert found["targets"] == commented.content["targets"] and comments(path) == COMMENTS


def test_comments_beside_what_stays_survive(path, commented):
    entry = {"label": "Spleen", "synonyms": ["milt", "lien", "S"], "plural": "spleens"}
    commented.changed("spleen", entry).with_attribute("color", ["rust", "ochre", "navy"]).write()
    assert OwnWords.read(path).content["targets"]["spleen"] == entry
    for words in ("# the milt", "# shown", "# german", "# nice"):
        assert words in path.read_text("utf-8")


def test_a_change_leaves_the_words_it_was_made_from_alone(commented):
    before = repr(commented.content)
    commented.changed("spleen", None).changed("liver", {"label": "x"}).with_attribute("color", [])
    assert repr(commented.content) == before and commented.digest == OwnWords.read(commented.path).digest


@pytest.mark.parametrize(
    "text", ["targets: # eol\n  spleen: # eol\n    label: S # eol\n", "targets: {spleen: {label: S}}"]
)
def test_taking_out_the_last_entry_leaves_a_file_that_can_be_read(path, text):
    words = read(path, f"{text}\nattributes: # eol\n  color: # eol\n    - puce # eol\n")
    emptied = words.changed("spleen", {}).changed("spleen", None).with_attribute("color", [])
    emptied.write()
    assert OwnWords.read(path).content == emptied.content == {"targets": {}, "attributes": {}}
    emptied.changed("spleen", {"label": "S"}).with_attribute("color", ["puce"]).write()
    assert OwnWords.read(path).content == {"targets": {"spleen": {"label": "S"}}, "attributes": {"color": {"puce": []}}}


def test_a_number_sign_within_a_word_is_no_comment(path):
    labels = ["one # two", "#1", "# 3", *(f"{'x' * n} # {'y' * (116 - n)}" for n in range(90, 116))]
    entries = "".join(f'  t{i}: {{label: "{label}"}}\n' for i, label in enumerate(labels))
    words = read(path, f"targets:\n{entries}  literal:\n    label: |\n      # two\n")
    words.changed("kidney", {"label": "# 3"}).changed("t0", None).write()
    found = [entry["label"] for entry in OwnWords.read(path).content["targets"].values()]
    assert found == [*labels[1:], "# two", "# 3"]


def test_a_file_of_comments_alone_keeps_them_on_top(path):
    read(path, "# one\n\n# two\n").changed("spleen", {}).write()
    assert comments(path) == ["# one", "# two"] and lines(path)[-2:] == ["targets:", "spleen: {}"]


def test_a_wrong_change_is_refused_and_nothing_is_written(path, commented):
    for change in (
        lambda: commented.changed("spleen", {"label": "{x}"}),
        lambda: commented.changed("spleen", {"display_color": "red"}),
        lambda: commented.changed("  ", {}),
        lambda: commented.with_attribute("texture", ["soft"]),
        lambda: commented.with_attribute("color", ["ok", ""]),
    ):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            change()
    assert path.read_text("utf-8") == COMMENTED


def test_a_write_that_fails_leaves_the_old_file(path, commented, monkeypatch):
    words = commented.changed("spleen", None)

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        words.write()
    assert path.read_text("utf-8") == COMMENTED and list(path.parent.iterdir()) == [path]


def test_a_clash_of_names_shows_when_the_words_are_merged(path, commented):
    words = commented.changed("milt", {"label": "Milt"})
    with pytest.raises(ValueError, match=r"line \d+, targets.milt: the name 'milt' already belongs to 'spleen'"):
        load_vocabulary(words)


def test_damaged_files_always_give_a_sentence(path, rng):
    path.parent.mkdir()
    whole = COMMENTED.encode()
    refused = 0
    for _ in range(200):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            broken[place] = rng.integers(256) if rng.random() < 0.5 else b" :-[]{}&*!|>'\"\n\t#"[rng.integers(17)]
        path.write_bytes(broken)
        try:
            words = OwnWords.read(path)
            load_vocabulary(words)
            words.changed("kidney", {"label": "x"}).with_attribute("size", ["y"])
        except ValueError as error:
            refused += 1
            assert str(path) in str(error), error
    assert refused > 100
