#!/usr/bin/env python3
"""Write the report's JSON Schema beside the code; a test fails while it is out of date."""

import json
from pathlib import Path

from edgeconv.report import json_schema
from edgeconv.report.model import SCHEMA_VERSION

path = Path(__file__).parents[1] / "edgeconv" / "report" / "schema" / f"report-{SCHEMA_VERSION}.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(json_schema(), indent=2) + "\n")
print(f"wrote {path.name}")
