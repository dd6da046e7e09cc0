"""Signalling half of the platform software that machines receive (the bundle)."""
