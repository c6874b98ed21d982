import subprocess
import sys
import threading

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QInputDialog

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
    background = Background(finish_seconds=60)
    for i in range(5):
        background.run(lambda i=i: (tmp_path / str(i)).write_text("x"))
    background.close()
    assert len(list(tmp_path.iterdir())) == 5


def test_a_job_that_hangs_keeps_neither_another_thread_nor_the_end_waiting(qtbot, tmp_path):
    hangs, files, autosave, came = threading.Event(), Background(), Background(finish_seconds=60), []
    files.run(hangs.wait, came.append)
    thread = files._thread
    files.run(lambda: (tmp_path / "dropped").write_text("x"))
    autosave.run(lambda: (tmp_path / "stroke").write_text("x"))
    files.close()
    autosave.close()
    assert (tmp_path / "stroke").exists()
    hangs.set()
    thread.join()
    QApplication.processEvents()
    assert not came, "who would hear it is gone with the window"
    files.run(lambda: (tmp_path / "late").write_text("x"))
    assert not (tmp_path / "late").exists() and not (tmp_path / "dropped").exists()


def test_the_program_ends_without_a_job_that_hangs_and_with_the_last_stroke(tmp_path):
    code = (
        "import sys, threading, time; from pathlib import Path\n"
        "from napari_medvlsm.widgets._workers import Background\n"
        "files, autosave = Background(), Background(finish_seconds=60)\n"
        "files.run(threading.Event().wait)\n"
        "autosave.run(lambda: (time.sleep(0.5), Path(sys.argv[1]).write_text('x')))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "stroke")], check=True, timeout=120)
    assert (tmp_path / "stroke").exists()


def test_an_error_that_is_no_exception_fails_its_job_and_no_other(qtbot):
    class PanicException(BaseException):
        """As libraries in Rust raise it."""

    def panic():
        raise PanicException("index out of bounds")

    background, got = Background(), []
    background.run(panic, None, lambda error: got.append(str(error)))
    background.run(lambda: "next", got.append)
    qtbot.waitUntil(lambda: len(got) == 2, timeout=60_000)
    assert got == ["PanicException: index out of bounds", "next"]
    background.close()


def test_nothing_is_told_behind_a_dialog_that_asks_something(qtbot):
    background, dialog, got, behind = Background(), QInputDialog(), [], []
    qtbot.addWidget(dialog)

    def answer():
        behind.extend(got)
        dialog.accept()

    def look():
        # Both results have come to this thread, and the dialog is open still.
        if len(background._results) == 2:
            QTimer.singleShot(0, answer)
        else:
            QTimer.singleShot(10, look)

    QTimer.singleShot(0, lambda: (background.run(lambda: 1, got.append), background.run(lambda: 2, got.append)))
    QTimer.singleShot(0, look)
    assert dialog.exec() and not behind
    qtbot.waitUntil(lambda: len(got) == 2, timeout=60_000)
    assert got == [1, 2]
    background.close()
