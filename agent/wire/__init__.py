"""The language that controller and agents share."""
