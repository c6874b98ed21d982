"""`python -m medvlsm_training train|package ...`: the process that the window starts."""

from __future__ import annotations

import sys

from medvlsm_training.command import Parser, add_to
from napari_medvlsm.core.exit_codes import ExitCode
from napari_medvlsm.core.io.disk_errors import sentence


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code (see `core.exit_codes`)."""
    parser = Parser(prog="medvlsm_training", description=__doc__)
    add_to(parser.add_subparsers(dest="command", required=True))
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"medvlsm_training: {sentence(error)}", file=sys.stderr)
        return ExitCode.FAILED


if __name__ == "__main__":
    raise SystemExit(main())
