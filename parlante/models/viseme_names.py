"""The visemes that the motion model names in sound, a superset of the Oculus set of 15."""

from __future__ import annotations

from typing import Final

VISEMES: Final = (
    *("sil", "PP", "FF", "TH", "DD", "NN", "KK", "CH", "SS", "RR"),
    *("AA", "EH", "AX", "IH", "OH", "UU"),
)
