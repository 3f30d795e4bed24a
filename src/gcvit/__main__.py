"""`python -m gcvit`: the same as the console script `gcvit`."""

from gcvit.cli.main import main

if __name__ == "__main__":
    main()
