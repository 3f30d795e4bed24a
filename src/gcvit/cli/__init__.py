"""The command line: a verb calls a function of the package and shows what it returns."""
