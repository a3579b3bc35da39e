"""What operators are told of Dagster by mail: failed runs, missed ticks, failed checks, stale assets.

Each module has a pure `plan` that says what is to be told of what was seen, and a `look` that sees it on Dagster's instance. Who writes the
messages, and when, is `sensors.operations`. What people look at without being told is for metrics.
"""
