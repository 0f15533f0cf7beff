"""The `offbook` command. Imports nothing heavy: `offbook --help` answers at once, a verb imports what it needs.

Exit codes: 0 done, 1 a negative finding (a mismatch, a failed check), 2 bad input, 130 interrupted. What nobody foresaw keeps its traceback.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from distill.commands import EXIT_BAD_INPUT, EXIT_INTERRUPTED, VERBS
from distill.printable import visible
from distill.version import VERSION

DESCRIPTION = """\
Teach language-model agents what hints told them, so that they play without the hints.

A first look:  offbook doctor, then offbook plan demo and offbook run demo
"""

_OWN_PACKAGES = ("actors", "distill", "envs", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if "run" not in args:
        parser.print_help()
        return EXIT_BAD_INPUT
    level = args.log_level or getattr(args, "usual_log_level", "warning")
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, start again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has left: Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, RuntimeError, OSError, ModuleNotFoundError) as error:
        message = expected_message(error)
        if args.debug or message is None:
            raise
        print("offbook: " + visible(message, keep="\n"), file=sys.stderr)
        return EXIT_BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="offbook",
        description=DESCRIPTION,
        parents=[_common_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(debug=False, log_level=None)
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb")
    # Not the parser's own options again: `set_defaults` has given those a default, with which a verb would undo `--debug` before it.
    common = _common_options()
    for verb in VERBS:
        import_module(f"distill.commands.{verb}").add_to(verbs, common)
    return parser


def _common_options() -> argparse.ArgumentParser:
    """Options that stand before or after the verb."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="of the log on stderr"
    )
    return common


def expected_message(error: BaseException) -> str | None:
    """What to tell a user about `error`; None where it is not one that bad input or a bad machine explains."""
    # Ray wraps what a worker raised, and its own text is a traceback.
    error = getattr(error, "cause", None) or error
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    named = any(cls.__module__.split(".")[0] in _OWN_PACKAGES for cls in type(error).__mro__)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if named or isinstance(error, ValueError | OSError):
        return str(error) or type(error).__name__
    return None


def _missing_package(error: ModuleNotFoundError) -> str | None:
    name = (error.name or "").split(".")[0]
    if not name or name in _OWN_PACKAGES:
        return None
    return f"the Python package {name!r} is missing; `offbook doctor` names the command that installs it"


class _PrintVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_args: object, **_named: object) -> None:
        print(f"offbook {VERSION}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
