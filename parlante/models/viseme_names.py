"""The visemes that the motion model names in sound, a superset of the Oculus set of 15."""

from __future__ import annotations

from typing import Final

VOWELS: Final = ("AA", "EH", "AX", "IH", "OH", "UU")
VISEMES: Final = ("sil", "PP", "FF", "TH", "DD", "NN", "KK", "CH", "SS", "RR", *VOWELS)
