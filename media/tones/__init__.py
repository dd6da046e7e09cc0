"""Tones: made, recognised, and what their cadence means. One file a kind; `media.tones.spectrum` is what all of them listen through."""
