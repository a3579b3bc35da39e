"""Assets: read through a resource, call one plain function, return a `MaterializeResult` with metadata."""
