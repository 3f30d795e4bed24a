"""Numbers as a person reads them."""


def plural(number: int, thing: str, ending: str = "s") -> str:
    """1 epoch, 2 epochs."""
    return f"{number:,} {thing}" + ("" if number == 1 else ending)


def rate(per_second: float) -> str:
    """What is done in a second: whole numbers from ten on, below it two digits: 1,234, 3.2, 0.043."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"
