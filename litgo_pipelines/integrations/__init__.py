"""The outside world: vendors over HTTP, every call bounded in time. Knows the settings alone; a ledger is handed in."""
