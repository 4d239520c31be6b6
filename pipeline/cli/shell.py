"""What all commands share: JSON on stdout or lines for people, errors to exit codes, progress."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from rasterio.errors import NotGeoreferencedWarning
from tqdm import tqdm

from pipeline.config import Config
from pipeline.errors import InputError, PhusaError
from pipeline.files import json_text
from pipeline.stores import FolderSettings, PostgisSettings, Store, open_store

Result = dict[str, Any]


class Told(Result):
    """A result with lines of its own for people."""

    def __init__(self, result: Result, lines: Sequence[str]) -> None:
        super().__init__(result)
        self.lines = lines


def command(function: Callable[..., Result]) -> Callable[..., None]:
    """Wrap a command that returns its result as one JSON-able object.

    With ``--json`` stdout is exactly that object, also for an error; people get lines. An object
    with ``exit_code`` ends the process with it after it was printed.
    """

    @click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, the rest on stderr."
    )
    @click.option("--debug", is_flag=True, help="Show tracebacks and log in detail.")
    @functools.wraps(function)
    def run(*, as_json: bool, debug: bool, **options: Any) -> None:
        _configure_logging(debug)
        _stop_cleanly_on_sigterm()
        try:
            result = function(**options)
        except PhusaError as error:
            _fail(str(error), error.exit_code, as_json, debug, error.more)
        except KeyboardInterrupt:
            _fail("interrupted; run the same command again to go on", 1, as_json, debug)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{error.strerror or error}", 2, as_json, debug)
        except Exception as error:  # the last resort: a fault of ours, told in one line
            _fail(
                f"{type(error).__name__}: {error} (a fault of phusa; --debug shows where)", 1, as_json, debug
            )
        else:
            code = int(result.get("exit_code", 0))
            _print(result, as_json)
            if code:
                sys.exit(code)

    return run


def _stop_cleanly_on_sigterm() -> None:
    """SIGTERM ends a command as Ctrl-C does: what was begun is put away, and the end is told."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


class Program(click.Group):
    """A group of commands whose usage errors obey ``--json`` too."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        more["standalone_mode"] = False
        try:
            code = super().main(words, *rest, **more)
        except click.ClickException as error:
            error.show()
            if "--json" in words:
                _print({"error": error.format_message(), "exit_code": error.exit_code}, as_json=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(1)
        except OSError as error:  # our own output: a full disk behind stdout
            click.echo(f"phusa: the result cannot be written: {error.strerror or error}", err=True)
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - else the interpreter fails at its end
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(
    message: str, code: int, as_json: bool, debug: bool, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"phusa: {message}", err=True)
    if as_json:
        click.echo(json_text({**more, "error": message, "exit_code": code}), nl=False)
    sys.exit(code)


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(result), nl=False)
    else:
        for line in result.lines if isinstance(result, Told) else _lines(result, ""):
            click.echo(line)


def _lines(value: Any, indent: str) -> Iterator[str]:
    """An object as indented ``key: value`` lines; long lists show their length and first entries."""
    for key, entry in value.items():
        if isinstance(entry, dict) and entry:
            yield f"{indent}{key}:"
            yield from _lines(entry, indent + "  ")
        elif isinstance(entry, list) and len(entry) > 0:
            yield f"{indent}{key}: {len(entry)}"
            yield from (f"{indent}  {part}" for part in entry[:20])
            if len(entry) > 20:
                yield f"{indent}  ... and {len(entry) - 20} more (--json shows all)"
        else:
            shown = f"{entry:.4g}" if isinstance(entry, float) else entry
            yield f"{indent}{key}: {shown}"


def _configure_logging(debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if debug else "phusa: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # odc-loader warps in memory without a place of its own; rasterio warns of each.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    # Dask looks for the dashboard's port even where the dashboard is off.
    warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
    if not debug:  # their faults reach the user as our own messages
        for name in (
            "odc",
            "distributed",
            "rasterio",
            "asyncio",
            "pystac",
            "pystac_client",
            "tornado",
            "urllib3",
        ):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line each tenth elsewhere; always on stderr."""
    if sys.stderr.isatty():
        with tqdm(desc=what, unit="block", file=sys.stderr) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield show
    else:
        shown, begun = -1, time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal shown
            tenth = 10 * done // total
            if tenth > shown:
                shown = tenth
                pace = done / max(time.monotonic() - begun, 1e-3)
                left = (
                    f", {60 * pace:.3g} a minute, {_span((total - done) / pace)} left" if done < total else ""
                )
                click.echo(f"{what}: {done} of {total} blocks{left}", err=True)

        yield line


def _span(seconds: float) -> str:
    """A time as people say it."""
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def dsn() -> str | None:
    """Address of PostgreSQL, from the environment."""
    return os.environ.get("PHUSA_DSN")


def store_settings(settings: Config) -> FolderSettings | PostgisSettings:
    """The config's store. Raises InputError where it has none."""
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    return settings.store


def _refusal(error: Exception) -> PhusaError | None:
    """What the database's own error means to people; None for any other."""
    if not type(error).__module__.startswith("psycopg"):  # which is of an extra
        return None
    import psycopg

    from pipeline.stores import address

    return address.told(error) if isinstance(error, psycopg.Error) else None


@contextmanager
def open_configured(settings: Config) -> Iterator[Store]:
    """The config's store, closed at the end."""
    store = open_store(store_settings(settings), settings.region.name, dsn())
    try:
        yield store
    except Exception as error:
        meant = _refusal(error)
        if meant is None:
            raise
        raise meant from None
    finally:
        store.close()
