"""`python -m medvlsm_training train|package ...`: the process that the window starts."""

from __future__ import annotations

from medvlsm_training.command import Parser, add_to
from napari_medvlsm.core.exit_codes import carry_out
from napari_medvlsm.core.process import ensure_temporary_folder


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code (see `core.exit_codes`)."""
    parser = Parser(prog="medvlsm_training", description=__doc__)
    add_to(parser.add_subparsers(dest="command", required=True))
    options = parser.parse_args(arguments)
    ensure_temporary_folder()
    return carry_out("medvlsm_training", lambda: options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
