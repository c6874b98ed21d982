"""Child processes that really run: how they are read, asked, killed, and what is left of them."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from napari_medvlsm.core.exit_codes import INTERRUPTED, UNREAD, ExitCode, carry_out, exit_sentence
from napari_medvlsm.core.process import ChildProcess

# Far beyond what anything here takes, also on a busy machine; a test that waits so long fails.
LONG = 60.0
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
sys.stdin.read()
print("no more input", flush=True)
time.sleep(600)
"""
OBEDIENT = """
import sys
import tempfile
print("ready", flush=True)
sys.stdin.read()
print("tidied", flush=True)
sys.exit(5)
"""


def ends(pid):
    """Wait until no such process runs. A zombie is one that ended: only its parent can remove it."""
    status = Path(f"/proc/{pid}/stat")
    for _ in range(int(LONG / 0.02)):
        try:
            os.kill(pid, 0)
            if status.exists() and status.read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        threading.Event().wait(0.02)
    return False


def test_lines_are_unicode_and_the_last_needs_no_end(child):
    process = child("print('größer als 3 µm'); print('ok', end='')")
    assert list(process.lines()) == ["größer als 3 µm", "ok"]
    assert process.wait(LONG) == 0


def test_broken_bytes_are_replaced(child):
    process = child("import os; os.write(1, b'a\\xff\\r\\nb')")
    assert list(process.lines()) == ["a\N{REPLACEMENT CHARACTER}", "b"]


def test_arguments_exit_code_and_last_words(child):
    script = "import sys; print(sys.argv[1:]); print('x' * 9000, file=sys.stderr); sys.exit('Sätze am Ende')"
    process = child(script, "a b", "ü")
    assert list(process.lines()) == ["['a b', 'ü']"]
    assert process.wait(LONG) == 1 == process.poll()
    assert process.stderr_tail().splitlines()[-1] == "Sätze am Ende" and len(process.stderr_tail()) < 3000
    process.close()
    assert process.stderr_tail() == ""


def test_more_stderr_than_a_pipe_holds_blocks_nothing(child):
    process = child("import sys; sys.stderr.write('x' * 10**6); print('done')")
    assert list(process.lines()) == ["done"]


def test_a_child_that_listens_ends_by_itself_with_its_own_code(child):
    process = child("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + OBEDIENT)
    lines = process.lines()
    assert next(lines) == "ready"
    assert process.stop(LONG) == 5 and list(lines) == ["tidied"]


@posix_only
def test_a_child_that_ignores_requests_is_killed_after_the_grace(child):
    process = child(STUBBORN)
    lines = process.lines()
    assert next(lines) == "deaf"
    process.ask_to_end()
    assert next(lines) == "no more input" and process.poll() is None
    assert process.stop(0.1) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):  # nor is it left as a zombie
        os.kill(process.pid, 0)


@posix_only
def test_what_the_child_started_is_killed_with_it(child):
    script = """
import subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(inner.pid, flush=True)
time.sleep(600)
"""
    process = child(script)
    pid = int(next(process.lines()))
    process.kill()
    assert ends(pid)


def test_close_ends_a_child_and_leaves_no_handle(child):
    process = child(OBEDIENT)
    assert next(process.lines()) == "ready"
    process.close(LONG)
    assert process.poll() == 5 and process.stdin.closed and process.stdout.closed
    process.close()
    assert process.kill() == 5


@posix_only
@pytest.mark.parametrize("watches_stdin", [True, False])
def test_a_child_whose_parent_dies_ends_by_itself(child, tmp_path, watches_stdin):
    """Either it watches its stdin, or the runner does so for it."""
    (tmp_path / "grandchild.py").write_text(OBEDIENT if watches_stdin else "import time; time.sleep(600)", "utf-8")
    parent = f"""
import time
from napari_medvlsm.core.process import ChildProcess
grandchild = ChildProcess("grandchild", watches_stdin={watches_stdin})
print(grandchild.pid, flush=True)
time.sleep(600)
"""
    process = child(parent)
    pid = int(next(process.lines()))
    # The parent alone, so that it can end nobody.
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(LONG) == -signal.SIGKILL
    assert ends(pid)


def test_a_watched_child_is_interrupted_so_that_it_can_tidy_up(child):
    script = """
import time
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("tidied", flush=True)
    raise SystemExit(4)
"""
    process = child(script, watches_stdin=False)
    lines = process.lines()
    assert next(lines) == "ready"
    process.stdin.close()
    assert list(lines) == ["tidied"] and process.wait(LONG) == 4


def test_a_watched_module_runs_as_by_python_itself(child):
    process = child("import sys; print(__name__, sys.argv[1:])", "a", watches_stdin=False)
    assert list(process.lines()) == ["__main__ ['a']"] and process.wait(LONG) == 0


def test_output_that_nobody_reads_blocks_nothing(child):
    process = child("print('x' * 10**6)", output=False)
    assert process.wait(LONG) == 0


def test_waiting_has_a_limit(child):
    process = child(OBEDIENT)
    with pytest.raises(TimeoutError, match="still runs"):
        process.wait(0.01)


def test_a_stray_folder_is_not_imported_instead_of_ours(child, tmp_path, monkeypatch):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("raise SystemExit('stray')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONINSPECT", "1")
    process = ChildProcess("napari_medvlsm.core.process", ["json.tool", "--help"])
    with process:
        assert "stray" not in "".join(process.lines()) and process.wait(LONG) == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "done"),
        (1, "some of it failed"),
        (2, "could not be done"),
        (3, "diverged"),
        (70, "error of the program"),
        (143, "stopped (SIGTERM)"),
        (-15, "stopped (SIGTERM)"),
        (-9, "memory ran out"),
        (-11, "crashed (SIGSEGV)"),
        (0xC0000005, "0xc0000005"),
        (17, "code 17"),
    ],
)
def test_exit_codes_have_words(code, words):
    assert words in exit_sentence(code)


def test_each_code_means_one_thing():
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__) and all(code < 128 for code in ExitCode)


def test_the_runner_imports_no_torch():
    code = "import sys, napari_medvlsm.core.process as p; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_child_starts_where_no_temporary_folder_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with ChildProcess("json.tool", ["--unknown"], output=False) as child:
        assert child.wait(LONG) == 2
        assert "unrecognized arguments" in child.stderr_tail() or not hasattr(os, "memfd_create")


def test_torch_is_imported_where_no_temporary_folder_has_room(tmp_path):
    code = (
        "import tempfile\n"
        "tempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
        "from napari_medvlsm.core.process import ensure_temporary_folder\n"
        "ensure_temporary_folder()\n"
        "import napari_medvlsm.core.inference\n"
        "tempfile.TemporaryFile().close()\n"
        "print(tempfile.gettempdir())"
    )
    environment = dict(os.environ) | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("tmp")


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
def test_a_child_ends_with_its_parent_though_another_process_holds_its_pipe():
    code = (
        "import os, sys, time\n"
        "from napari_medvlsm.core.process import ChildProcess\n"
        "child = ChildProcess('napari_medvlsm.core.engine')\n"
        "other = os.fork()\n"
        "if not other: time.sleep(300)\n"
        "child.stdout.read(1)\n"
        "print(child.pid, other, flush=True); time.sleep(300)"
    )
    viewer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    engine, other = map(int, viewer.stdout.readline().split())
    try:
        viewer.kill()
        viewer.wait()
        viewer.stdout.close()
        assert psutil.pid_exists(other), "it holds the pipe still"
        with suppress(psutil.NoSuchProcess):
            # It is adopted by the system, which may leave it as a zombie.
            process = psutil.Process(engine)
            until = time.monotonic() + 60
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < until
                time.sleep(0.05)
    finally:
        os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("The scan is\nempty."), ExitCode.FAILED, "medvlsm: The scan is empty.\n"),
        (OSError(28, "No space left"), ExitCode.FAILED, "medvlsm: The disk is full; make room, then"),
        (FileNotFoundError(2, "No such", "/gone/.x-abc.csv"), ExitCode.FAILED, "medvlsm: There is no folder /gone.\n"),
        (FileExistsError(17, "Exists", "out"), ExitCode.FAILED, "medvlsm: out exists already; choose another name.\n"),
        (MemoryError(), ExitCode.FAILED, "medvlsm: The memory of this computer does not suffice"),
        (KeyboardInterrupt(), INTERRUPTED, "medvlsm: stopped;"),
        (KeyError("x"), ExitCode.CRASHED, "Traceback"),
    ],
)
def test_what_ends_a_command_has_one_code_and_words(error, code, said, capsys):
    def work():
        raise error

    assert carry_out("medvlsm", work) == code and capsys.readouterr().err.startswith(said)
    assert carry_out("medvlsm", lambda: ExitCode.SOME_FAILED) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX systems")
def test_a_command_whose_output_nobody_reads_ends_in_silence():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "napari_medvlsm.cli", "data", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=300)
    os.close(write)
    assert (done.returncode, done.stderr) == (UNREAD, b"")
