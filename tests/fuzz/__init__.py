"""Fuzzing of all that reads bytes from outside: `targets` says what holds for any bytes, `python -m tests.fuzz` looks for others.

Each target is a module with `check(data)`, which raises when something does not hold, and `seeds()`, bytes to start from.
"""
