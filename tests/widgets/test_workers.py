import threading

from napari_medvlsm.widgets._workers import Background


def test_results_and_every_kind_of_error_reach_the_windows_thread(qtbot):
    background, here, got = Background(), threading.get_ident(), []

    def note(value):
        got.append((value, threading.get_ident() == here))

    def fail():
        raise RuntimeError("shape mismatch")

    background.run(lambda: threading.get_ident() != here, note)
    background.run(fail, note, lambda error: note(str(error)))
    background.run(fail)
    qtbot.waitUntil(lambda: len(got) == 2, timeout=60_000)
    assert got == [(True, True), ("shape mismatch", True)]
    background.close()


def test_close_finishes_what_is_queued(tmp_path):
    background = Background()
    for i in range(5):
        background.run(lambda i=i: (tmp_path / str(i)).write_text("x"))
    background.close()
    assert len(list(tmp_path.iterdir())) == 5
