"""Building of bundles from the installed packages `telephony` and `media`, and the library of those that were built."""
