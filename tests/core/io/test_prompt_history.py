import json
import threading

import pytest
from filelock import FileLock, Timeout

from napari_medvlsm.core.io.prompt_history import HISTORY_LENGTH, PromptHistory
from napari_medvlsm.core.prompts import Attributes, Prompt, build, free_text, load_vocabulary

VOCABULARY = load_vocabulary()


@pytest.fixture
def history(tmp_path):
    return PromptHistory(tmp_path / "user" / "prompts.json")


def typed(text):
    return free_text(text, VOCABULARY)


def texts(history, **wanted):
    return [entry.prompt.text for entry in history.entries(**wanted)]


def test_the_latest_comes_first_and_each_text_once(history):
    history.add(typed("polyp"), typed("left lung"))
    history.add(typed("polyp"))
    assert texts(history) == ["polyp", "left lung"]
    assert texts(PromptHistory(history.path)) == ["polyp", "left lung"]


def test_a_prompt_comes_back_as_it_was(history):
    said = Attributes("polyp", "two", "small", location="top, left")
    prompt = build(said, VOCABULARY)
    prompt = Prompt(prompt.text, prompt.level, said, prompt.vocabulary_version, ("number", "size"))
    history.add(prompt, typed("息肉 “x” {0}"))
    assert [entry.prompt for entry in history.entries()] == [typed("息肉 “x” {0}"), prompt]
    (entry, _) = history.entries()
    assert entry.used.endswith("+00:00") and not entry.favourite


def test_nothing_used_yet(history):
    assert history.entries() == [] and not history.is_favourite("polyp")
    assert not history.path.parent.exists()


def test_search_by_target_and_by_beginnings_of_words(history):
    history.add(typed("small polyp on the left"), typed("large polyp"), typed("left lung"), typed("the spleen"))
    assert texts(history, target="polyp") == ["large polyp", "small polyp on the left"]
    assert texts(history, words="LEF") == ["left lung", "small polyp on the left"]
    assert texts(history, words="pol, sm") == ["small polyp on the left"]
    assert texts(history, words="eft") == [] and texts(history, target="polyp", words="lung") == []
    assert texts(history, target="spleen") == [], "a target that was not recognised"


def test_favourites_come_first_and_are_never_forgotten(history):
    history.set_favourite(typed("foot ulcer"), True)
    history.add(*(typed(f"polyp {i}") for i in range(HISTORY_LENGTH + 5)))
    found = texts(history)
    assert found[:2] == ["foot ulcer", f"polyp {HISTORY_LENGTH + 4}"] and len(found) == HISTORY_LENGTH + 1
    history.add(typed("foot ulcer"))
    assert history.is_favourite("foot ulcer"), "used again it stays one"
    history.set_favourite(typed("foot ulcer"), False)
    assert not history.is_favourite("foot ulcer") and texts(history)[0] == "foot ulcer"
    assert len(texts(history)) == HISTORY_LENGTH


def test_a_prompt_can_be_forgotten(history):
    history.add(typed("polyp"), typed("left lung"))
    history.forget("polyp")
    history.forget("never used")
    assert texts(history) == ["left lung"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{broken",
        b"\xff\xfe",
        b"{}",
        b"7",
        b'["x"]',
        b'[{"prompt": {}}]',
        b'[{"prompt": {"text": "a", "level": "p1", "attributes": [], "vocabulary_version": "2"}}]',
        b"[" * 100_000,
    ],
    ids=repr,
)
def test_a_damaged_file_is_set_aside_and_does_not_stop_work(history, content):
    history.path.parent.mkdir()
    history.path.write_bytes(content)
    assert history.entries() == [] and not history.is_favourite("polyp")
    assert history.path.read_bytes() == content, "looking changes nothing"
    history.add(typed("polyp"))
    assert texts(history) == ["polyp"]
    aside = history.path.with_suffix(".damaged.json")
    # An object without entries holds nothing worth keeping.
    assert aside.exists() == (content != b"{}") and (content == b"{}" or aside.read_bytes() == content)


def test_entries_of_another_version_are_read(history):
    history.add(typed("small polyp"))
    raw = json.loads(history.path.read_text("utf-8"))
    raw[0]["prompt"]["attributes"]["mood"] = "good"
    del raw[0]["prompt"]["measured"]
    raw[0]["later"] = 1
    history.path.write_text(json.dumps(raw), "utf-8")
    assert [entry.prompt for entry in history.entries()] == [typed("small polyp")]


def test_several_windows_do_not_lose_one_anothers_prompts(history, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.core.io.prompt_history.LOCK_SECONDS", 60)  # however busy the machine is

    def use(window):
        for i in range(10):
            PromptHistory(history.path).add(typed(f"window {window} prompt {i}"))

    threads = [threading.Thread(target=use, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(history)) == 40


def test_a_lock_that_stays_held_is_an_error_of_the_system(history, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.core.io.prompt_history.LOCK_SECONDS", 0.1)
    history.path.parent.mkdir()
    with FileLock(history.path.with_suffix(".lock")), pytest.raises(OSError) as error:
        history.add(typed("polyp"))
    assert isinstance(error.value, Timeout)
    history.add(typed("polyp"))


def test_the_file_holds_words_only(history):
    history.add(build(Attributes("polyp", size="small"), VOCABULARY))
    (entry,) = json.loads(history.path.read_text("utf-8"))
    assert entry.keys() == {"prompt", "used", "favourite"}
    assert entry["prompt"]["attributes"] == {"target": "polyp", "size": "small"}


def test_by_default_it_lies_in_the_users_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert PromptHistory().path.name == "prompts.json" and "napari-medvlsm" in str(PromptHistory().path)


def test_asking_reads_the_file_once_until_someone_replaces_it(history, monkeypatch):
    history.set_favourite(typed("polyp"), True)
    other = PromptHistory(history.path)
    opened = []
    read_text = type(history.path).read_text
    monkeypatch.setattr(type(history.path), "read_text", lambda *a, **k: opened.append(a[0]) or read_text(*a, **k))
    for text in ("p", "po", "pol", "polyp"):
        assert history.is_favourite(text) == (text == "polyp")
    assert len(opened) == 1
    other.set_favourite(typed("left lung"), True)
    opened.clear()
    assert history.is_favourite("left lung") and history.is_favourite("polyp") and len(opened) == 1
    history.path.unlink()
    assert history.entries() == []
