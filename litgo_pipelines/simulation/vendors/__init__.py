"""Stand-ins for vendors: local HTTP servers that speak their wire formats and fail as told, for tests and for trying things by hand."""
