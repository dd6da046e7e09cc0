"""The command ``hotswitch``. The command line is a client of the API; nothing heavy is imported before a command needs it."""


def main() -> None:
    """Entry point."""
    from controller.cli.application import run

    run()
