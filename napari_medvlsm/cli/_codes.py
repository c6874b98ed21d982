"""Exit codes of the commands, by short names; what they mean is in `core.exit_codes`."""

from napari_medvlsm.core.exit_codes import ExitCode

OK, SOME_FAILED, FAILED = ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.FAILED
