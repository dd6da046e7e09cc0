"""What services ask of each other, through load balancers.

- `protocol`: the messages between a service and a load balancer, and which operations may be done twice.
- `participant`: a service's half: asks, jobs, retries, heartbeats; `client` and `worker` are its two roles.
- `resource`, `routing`, `queue`: requests, responses and events of the dependents (a media processor's are
  in `media.control`).

A body is msgpack of the structure that the operation names; an error's body is its text in UTF-8.
"""
