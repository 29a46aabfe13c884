"""How exact values are: with the digits that say something, and none that only cost room in the store.

A sample of all digits of a quotient takes 6.5 bytes there, one of four digits 1.2 (measured).
"""


def ratio(part: float, whole: float) -> float:
    """`part` as a fraction of `whole`, to 0.01 %: a tick of 1/100 s is 0.1 % of one CPU in a round of 10 s."""
    return round(part / whole, 4)


def hundredths(value: float) -> float:
    """`value` to 0.01: the tick (s) in which Linux counts the time of CPUs, and how it shows its load averages."""
    return round(value, 2)
