"""Run the command line: set up streams and signals, and convert errors to messages and exit codes."""

import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import typer

from hangtag.errors import SettingsError, StalledError, describe_mistake
from hangtag.settings import name_flag


def run_and_exit(app: typer.Typer, given: Sequence[str]) -> None:
    """Run the command line and exit with its code.

    Exit codes: 0 success; 1 what `check --fail-on` asks for was found; 2 a user's mistake, described on stderr in a
    line or two; 130 Ctrl-C; 143 SIGTERM and 129 SIGHUP. Any other exception is a bug and keeps its traceback.
    """
    if given[:1] not in (["serve"], ["review"]):
        # A service handles signals itself, since it completes its waiting requests first.
        _treat_signals_as_interrupt()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # The terminal's encoding may lack a character of a file name or a label.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _call(app, given)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has exited, as `head` does: write nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


_received_signals: list[int] = []


def _treat_signals_as_interrupt() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that a command cleans up before it stops."""
    _received_signals.clear()

    def stop(number: int, _frame: object) -> None:
        _received_signals.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Signals that are ignored stay ignored, as under `nohup`.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def _call(app: typer.Typer, arguments: Sequence[str]) -> int:
    try:
        # A command returns None; --help and Ctrl-C (130) return an exit code.
        code = typer.main.get_command(app).main(arguments, prog_name="hangtag", standalone_mode=False) or 0
    except typer.TyperException as error:
        # A wrong flag or argument. Typer's own message also prints the usage: four lines or more.
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "hangtag"
        message = error.format_message().replace(": Value error, ", ": ")
        typer.echo(f"Error: {message}\nTry '{path} --help' for help.", err=True)
        return 2
    except Exception as error:
        named = error.name_settings(name_flag) if isinstance(error, SettingsError) else error
        described = describe_mistake(named)
        if described is None:
            raise
        typer.echo(f"Error: {described}", err=True)
        if isinstance(error, StalledError):
            # Python waits for its threads at exit, but a stalled one never ends.
            sys.stdout.flush()
            os._exit(2)
        return 2
    if code == 130:
        with suppress(OSError):
            # The terminal may be closed.
            typer.echo(describe_stop(arguments), err=True)
        return 128 + _received_signals[0] if _received_signals else 130
    return int(code)


def describe_stop(arguments: Sequence[str]) -> str:
    """Return the message after Ctrl-C of a command: which results are kept, and how to continue."""
    command = arguments[0] if arguments else ""
    if command == "learning-curve" or any(each.split("=")[0] == "--search" for each in arguments):
        return "Stopped. Every finished training and epoch is kept; to continue, run the same command."
    if command == "train":
        return "Stopped. Every finished epoch is kept; to continue, run the same command with --resume."
    if command == "cross-validate":
        return "Stopped. Every finished fold and epoch is kept; to continue, run the same command."
    if command in ("review", "app"):
        return "Stopped. Every decision is kept; to continue, run the same command."
    if command in ("check", "run", "demo"):
        return "Stopped. Every finished stage and epoch is kept; to continue, run the same command."
    return "Stopped. No file is left half written; to start again, run the same command."
