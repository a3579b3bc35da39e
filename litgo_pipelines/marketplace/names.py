"""Names that SQL and arrays share: the schema and the eight features. Imports nothing, so that it costs nothing.

The tables themselves are in `tables`.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = "litgo"

FEATURES: Final = ("a", "s", "t", "g", "q", "u", "r", "c")
"""The eight features in their one order: area match, case similarity, success rate, geography, qualification, urgency fit, reviews,
soft skills."""

FEATURE_COLUMNS: Final = tuple(f"feature_{name}" for name in FEATURES)
