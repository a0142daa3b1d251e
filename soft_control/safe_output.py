"""Where a robot goes when commands stop coming, and at the end of a run."""

from __future__ import annotations

from typing import Literal

SafeOutput = Literal["hold", "neutral", "disarm"]
"""Stays at the last command, goes to the neutral one at bounded speed, or is let go."""
