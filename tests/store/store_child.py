"""A process of its own that uses a store; run by the tests as `python store_child.py COMMAND ROOT ...`."""

from __future__ import annotations

import random
import resource
import sys
import time
from pathlib import Path

from edgeconv.errors import EdgeconvError
from edgeconv.fingerprint import of_bytes
from edgeconv.store import Store


def wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def tree(folder: Path, seed: random.Random) -> Path:
    for name in ("saved_model.pb", "variables/data", "variables/index", "assets/extra/words"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seed.randbytes(seed.randrange(1, 60_000)))
    (folder / "empty").mkdir()
    return folder


def publish_own(root: Path, key: str, mine: str) -> None:
    """Publish bytes that nobody else has; say which ones count."""
    store = Store(root, locking=False)
    wait_for_go()
    with store.lock(key), store.workdir() as work:
        (work / "out").write_text(mine * 5000)
        record = store.publish(key, work / "out", {"by": mine})
    print(store.read(record.blob).decode()[0], record.meta["by"], flush=True)


def build_once(root: Path, key: str, log: str) -> None:
    store = Store(root)
    wait_for_go()
    with store.lock(key):
        if store.find(key) is None:
            with Path(log).open("a") as stream:
                stream.write("built\n")
            time.sleep(0.05)
            with store.workdir() as work:
                (work / "out").write_text("bytes")
                store.publish(key, work / "out", {})
    record = store.find(key)
    assert record is not None
    print(store.read(record.blob).decode(), flush=True)


def publish_forever(root: Path, number: str, seconds: str = "60") -> None:
    """Files and trees, new and old keys, notes and locks, until killed or the time is over."""
    store, seed, end = Store(root), random.Random(int(number)), time.monotonic() + float(seconds)
    print("ready", flush=True)
    while time.monotonic() < end:
        what = seed.randrange(200)
        key = of_bytes(str(what).encode())
        content = random.Random(what)
        with store.lock(key), store.workdir() as work:
            if what % 2:
                store.publish(key, tree(work / "tree", content), {"what": what})
            else:
                (work / "file").write_bytes(content.randbytes(100_000))
                store.publish(key, work / "file", {"what": what})
        store.put_note("seen", key, what)
    print("done", flush=True)


def hold(root: Path, key: str) -> None:
    store = Store(root)
    with store.lock(key), store.workdir() as work:
        (work / "half").write_text("x")
        print(work, flush=True)
        sys.stdin.readline()


def publish_limited(root: Path, path: str, limit: str) -> None:
    """Publish under a file size limit, which the kernel enforces like a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    store = Store(root)
    try:
        store.publish("a" * 64, Path(path), {})
    except EdgeconvError as error:
        print(type(error).__name__, error.message, error.hint, sep="\n", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
