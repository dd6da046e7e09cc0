"""The voice platform: calls.

- `calls`: what a call router of this platform does with SIP and with what dependents tell it.
- `call`: one call as a table of states and events; its steps in `conference`, `callee`, `waiting`, `talking`, `transfer`, `replacing`,
  `moving`. `bodies`: which ones it takes.
- `ringing`: the outbound legs of a call. `legs`: its legs on the media processor.
- `keeping`: what is noted of a call, so that it outlives the router's process.
- `watching`: subscriptions to the state of users.
- `marks`, `rooms`: what a router keeps renewed in the resource database.
"""

SERVICES = ("proxy", "call_router", "load_balancer", "media_processor", "routing", "call_queue", "resource_database")
"""Kinds of services that the platform is made of."""
