"""The load balancer: gives the jobs of one call router, and of the services it lists, to dependents.

`core.Balancer` decides and holds no socket; `zap` says who may connect; `server` is the ZeroMQ part of its shell.
"""
