"""The command ``porting``; :mod:`porting.exits` says what its exit codes mean."""

from porting.exits import end_with


def main() -> None:
    """Run a command and exit."""

    def command() -> None:
        from porting.cli import app

        app()

    end_with(command)


if __name__ == "__main__":
    main()
