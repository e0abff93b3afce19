"""``porting`` on the command line; ``porting.exits`` has what the exit codes mean."""

from porting.exits import end_with


def main() -> None:
    """Run a command and exit."""
    end_with(_run)


def _run() -> None:
    from porting.cli import app

    app()


if __name__ == "__main__":
    main()
