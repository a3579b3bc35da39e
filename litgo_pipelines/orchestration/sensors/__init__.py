"""Sensors: each a plain function `plan(cursor, observed)` that decides, with a thin wrapper that observes."""
