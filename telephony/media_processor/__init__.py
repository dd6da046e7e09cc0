"""The media processor as a service: the engine of `media` under the one shell."""
