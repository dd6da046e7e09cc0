"""The controller's HTTP API: how an outside system instructs the cluster.

Bearer tokens with roles, OpenAPI under ``/docs``, problem details (RFC 9457) for every error, idempotency keys and
``dry_run`` on what changes something.
"""
