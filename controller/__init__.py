"""Control plane: state, calculation, publication and the API."""
