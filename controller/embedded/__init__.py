"""A whole cluster on one host: broker, controller and machines as processes of one parent, for `hotswitch up`."""
