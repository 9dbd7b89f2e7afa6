"""Reports and manifests: plain data first, views of it second."""

from edgeconv.report.bench import SCHEMA_VERSION as _BENCH
from edgeconv.report.bench import BenchRecord, bench_schema
from edgeconv.report.build import assert_contract, build, manifest
from edgeconv.report.compare import SCHEMA_VERSION as _COMPARE
from edgeconv.report.compare import CompareRecord, compare_schema
from edgeconv.report.model import SCHEMA_VERSION as _REPORT
from edgeconv.report.model import Report, json_schema
from edgeconv.report.publish import publish, write_json

#: What makes the JSON Schema of each kind of record, by its file's name.
SCHEMAS = {
    f"report-{_REPORT}.json": json_schema,
    f"bench-{_BENCH}.json": bench_schema,
    f"compare-{_COMPARE}.json": compare_schema,
}

__all__ = [
    "SCHEMAS",
    "BenchRecord",
    "CompareRecord",
    "Report",
    "assert_contract",
    "build",
    "compare_schema",
    "json_schema",
    "manifest",
    "publish",
    "write_json",
]
