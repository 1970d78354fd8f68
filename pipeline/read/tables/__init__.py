"""How tables are written down: CSV, JSON documents, workbooks."""
