"""The routing service: where a request goes, by the dial plan and the users' bindings."""
