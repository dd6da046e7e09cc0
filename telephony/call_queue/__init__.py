"""The call queue: callers wait in order until a member is free, and are offered to it.

- `core`: jobs, events and offers.
- `waiting`: the callers of one queue in their order.
- `strategies`: which of several free members is asked.
"""
