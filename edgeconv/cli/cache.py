"""`edgeconv cache`: stats, verify, gc, explain, pin, unpin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeconv.cli import show
from edgeconv.errors import StoreError, UsageError

app = typer.Typer(no_args_is_help=True)

CacheOption = Annotated[Path | None, typer.Option("--cache-dir", help="The cache's root.", envvar="EDGECONV_CACHE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
KeyArgument = Annotated[str, typer.Argument(help="A step's key, or the beginning of it.")]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def _store(cache_dir: Path | None) -> Any:
    from edgeconv import paths
    from edgeconv.store import Store

    return Store(paths.cache_dir(cache_dir))


@app.command()
def stats(cache_dir: CacheOption = None, as_json: JsonOption = False) -> None:
    """How many results the cache holds, and how large they are."""
    from edgeconv import paths

    show.stats(_store(cache_dir).stats(), paths.cache_dir(cache_dir), as_json=as_json)


@app.command()
def verify(cache_dir: CacheOption = None, as_json: JsonOption = False) -> None:
    """Hash everything again; set aside what is damaged. Exit code 30 if anything was."""
    store = _store(cache_dir)
    store.sweep()
    problems = store.verify()
    show.problems(problems, as_json=as_json)
    if problems:
        raise typer.Exit(StoreError.exit_code)


@app.command()
def gc(
    max_size: Annotated[str | None, typer.Option(help="For example 2GB or 500MB.")] = None,
    max_age: Annotated[float | None, typer.Option(min=0, help="In days since a result was last used.")] = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what was not used for longest, until the rest fits. Pinned results stay."""
    if max_size is None and max_age is None:
        raise UsageError("say how far to go", hint="edgeconv cache gc --max-size 2GB, or --max-age 30")
    result = _store(cache_dir).gc(_bytes(max_size) if max_size is not None else None, max_age)
    show.collected(result, as_json=as_json)


@app.command()
def explain(
    key: Annotated[
        str | None, typer.Argument(help="A step's key, or the beginning of it; without one: all keys.")
    ] = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything that a stored result depends on."""
    store = _store(cache_dir)
    if key is None:
        show.records(list(store.records()), as_json=as_json)
        return
    record = store.find(_resolve(store, key))
    if record is None:
        raise StoreError(f"the result of {key} is no longer there", hint="run again to build it")
    show.record(record, as_json=as_json)


@app.command(name="list")
def list_records(cache_dir: CacheOption = None, as_json: JsonOption = False) -> None:
    """The keys of all results, for explain and pin."""
    show.records(list(_store(cache_dir).records()), as_json=as_json)


@app.command()
def pin(key: KeyArgument, cache_dir: CacheOption = None) -> None:
    """Keep a result whatever gc is told."""
    store = _store(cache_dir)
    store.pin(_resolve(store, key))


@app.command()
def unpin(key: KeyArgument, cache_dir: CacheOption = None) -> None:
    """Let gc remove it again."""
    store = _store(cache_dir)
    store.unpin(_resolve(store, key))


def _resolve(store: Any, prefix: str) -> str:
    found = store.resolve(prefix)
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} results have a key that begins with {prefix!r}", hint="`edgeconv cache list` shows all keys"
        )
    return str(found[0])


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if match is None:
        raise UsageError(f"cannot read the size {text!r}", hint="write it as 2GB, 500MB or a number of bytes")
    unit = _UNITS[match[2]]
    return int(float(match[1]) * (1024 ** ("kmgt".index(match[2]) + 1) if match[3] and match[2] else unit))
