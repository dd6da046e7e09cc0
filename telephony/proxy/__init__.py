"""The proxy: what users talk to. It authenticates them, keeps their flows, and passes requests to the call routers and back."""
