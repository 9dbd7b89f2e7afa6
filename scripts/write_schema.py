#!/usr/bin/env python3
"""Write the JSON Schemas of the records beside the code; a test fails while one is out of date."""

import json
from pathlib import Path

from edgeconv.report import SCHEMAS

folder = Path(__file__).parents[1] / "edgeconv" / "report" / "schema"
folder.mkdir(exist_ok=True)
for name, make in SCHEMAS.items():
    (folder / name).write_text(json.dumps(make(), indent=2) + "\n")
    print(f"wrote {name}")
