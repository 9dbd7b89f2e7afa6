"""Reports and manifests: plain data first, views of it second."""

from edgeconv.report.build import assert_contract, build, manifest
from edgeconv.report.model import Report, json_schema
from edgeconv.report.publish import publish, write_json

__all__ = ["Report", "assert_contract", "build", "json_schema", "manifest", "publish", "write_json"]
