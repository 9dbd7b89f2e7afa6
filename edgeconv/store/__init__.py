"""Action cache (key → record) and content-addressed blobs, safe for any number of processes at once."""

from edgeconv.store.files import os_error
from edgeconv.store.model import Blob, BlobCorrupt, GcResult, Problem, Record, Stats
from edgeconv.store.store import Store

__all__ = ["Blob", "BlobCorrupt", "GcResult", "Problem", "Record", "Stats", "Store", "os_error"]
