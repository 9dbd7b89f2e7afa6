"""Reports and manifests: plain data first, views of it second."""

from edgeconv.report.bench import SCHEMA_VERSION as _BENCH
from edgeconv.report.bench import BenchList, BenchRecord, bench_list_schema, bench_schema
from edgeconv.report.build import assert_contract, build, manifest
from edgeconv.report.compare import SCHEMA_VERSION as _COMPARE
from edgeconv.report.compare import CompareRecord, compare_schema
from edgeconv.report.model import SCHEMA_VERSION as _REPORT
from edgeconv.report.model import Report, json_schema
from edgeconv.report.publish import publish, write_json
from edgeconv.report.trace import SCHEMA_VERSION as _TRACE
from edgeconv.report.trace import TraceRecord, trace_schema

#: What makes the JSON Schema of each kind of record, by its file's name.
SCHEMAS = {
    f"report-{_REPORT}.json": json_schema,
    f"bench-{_BENCH}.json": bench_schema,
    f"bench-list-{_BENCH}.json": bench_list_schema,
    f"trace-{_TRACE}.json": trace_schema,
    f"compare-{_COMPARE}.json": compare_schema,
}

__all__ = [
    "SCHEMAS",
    "BenchList",
    "BenchRecord",
    "CompareRecord",
    "Report",
    "TraceRecord",
    "assert_contract",
    "bench_list_schema",
    "bench_schema",
    "build",
    "compare_schema",
    "json_schema",
    "manifest",
    "publish",
    "trace_schema",
    "write_json",
]
