import json
import threading
import time

import pytest
from filelock import FileLock, Timeout

from napari_medvlsm.core.io.prompt_history import HISTORY_LENGTH, PromptHistory
from napari_medvlsm.core.prompts import Attributes, Prompt, build, free_text, load_vocabulary

VOCABULARY = load_vocabulary()


@pytest.fixture
def book(tmp_path):
    return PromptHistory(tmp_path / "user" / "prompts.json")


def typed(text):
    return free_text(text, VOCABULARY)


def texts(book, **wanted):
    return [entry.prompt.text for entry in book.entries(**wanted)]


def test_the_latest_comes_first_and_each_text_once(book):
    book.add(typed("polyp"), typed("left lung"))
    book.add(typed("polyp"))
    assert texts(book) == ["polyp", "left lung"]
    assert texts(PromptHistory(book.path)) == ["polyp", "left lung"]


def test_a_prompt_comes_back_as_it_was(book):
    said = Attributes("polyp", "two", "small", location="top, left")
    prompt = build(said, VOCABULARY)
    prompt = Prompt(prompt.text, prompt.level, said, prompt.vocabulary_version, ("number", "size"))
    book.add(prompt, typed("息肉 “x” {0}"))
    assert [entry.prompt for entry in book.entries()] == [typed("息肉 “x” {0}"), prompt]
    (entry, _) = book.entries()
    assert entry.used.endswith("+00:00") and not entry.favourite


def test_nothing_used_yet(book):
    assert book.entries() == [] and not book.is_favourite("polyp")
    assert not book.path.parent.exists()


def test_search_by_target_and_by_beginnings_of_words(book):
    book.add(typed("small polyp on the left"), typed("large polyp"), typed("left lung"), typed("the spleen"))
    assert texts(book, target="polyp") == ["large polyp", "small polyp on the left"]
    assert texts(book, words="LEF") == ["left lung", "small polyp on the left"]
    assert texts(book, words="pol, sm") == ["small polyp on the left"]
    assert texts(book, words="eft") == [] and texts(book, target="polyp", words="lung") == []
    assert texts(book, target="spleen") == [], "a target that was not recognised"


def test_favourites_come_first_and_are_never_forgotten(book):
    book.set_favourite(typed("foot ulcer"), True)
    book.add(*(typed(f"polyp {i}") for i in range(HISTORY_LENGTH + 5)))
    found = texts(book)
    assert found[:2] == ["foot ulcer", f"polyp {HISTORY_LENGTH + 4}"] and len(found) == HISTORY_LENGTH + 1
    book.add(typed("foot ulcer"))
    assert book.is_favourite("foot ulcer"), "used again it stays one"
    book.set_favourite(typed("foot ulcer"), False)
    assert not book.is_favourite("foot ulcer") and texts(book)[0] == "foot ulcer"
    assert len(texts(book)) == HISTORY_LENGTH


def test_a_prompt_can_be_forgotten(book):
    book.add(typed("polyp"), typed("left lung"))
    book.forget("polyp")
    book.forget("never used")
    assert texts(book) == ["left lung"]


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
def test_a_damaged_file_is_set_aside_and_does_not_stop_work(book, content):
    book.path.parent.mkdir()
    book.path.write_bytes(content)
    assert book.entries() == [] and not book.is_favourite("polyp")
    assert book.path.read_bytes() == content, "looking changes nothing"
    book.add(typed("polyp"))
    assert texts(book) == ["polyp"]
    aside = book.path.with_suffix(".damaged.json")
    # An object without entries holds nothing worth keeping.
    assert aside.exists() == (content != b"{}") and (content == b"{}" or aside.read_bytes() == content)


def test_entries_of_another_version_are_read(book):
    book.add(typed("small polyp"))
    raw = json.loads(book.path.read_text("utf-8"))
    raw[0]["prompt"]["attributes"]["mood"] = "good"
    del raw[0]["prompt"]["measured"]
    raw[0]["later"] = 1
    book.path.write_text(json.dumps(raw), "utf-8")
    assert [entry.prompt for entry in book.entries()] == [typed("small polyp")]


def test_several_windows_do_not_lose_one_anothers_prompts(book):
    def use(window):
        for i in range(10):
            PromptHistory(book.path).add(typed(f"window {window} prompt {i}"))

    threads = [threading.Thread(target=use, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(book)) == 40


def test_a_lock_that_stays_held_is_an_error_of_the_system(book, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.core.io.prompt_history.LOCK_SECONDS", 0.1)
    book.path.parent.mkdir()
    start = time.monotonic()
    with FileLock(book.path.with_suffix(".lock")), pytest.raises(OSError) as error:
        book.add(typed("polyp"))
    assert isinstance(error.value, Timeout) and time.monotonic() - start < 3
    book.add(typed("polyp"))


def test_the_file_holds_words_only(book):
    book.add(build(Attributes("polyp", size="small"), VOCABULARY))
    (entry,) = json.loads(book.path.read_text("utf-8"))
    assert entry.keys() == {"prompt", "used", "favourite"}
    assert entry["prompt"]["attributes"] == {"target": "polyp", "size": "small"}


def test_by_default_it_lies_in_the_users_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert PromptHistory().path.name == "prompts.json" and "napari-medvlsm" in str(PromptHistory().path)
