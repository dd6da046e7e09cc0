"""What is installed once on every machine; it runs the software that the controller sends."""
