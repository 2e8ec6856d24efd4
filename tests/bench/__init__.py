"""What the bridge costs, beside what one would do otherwise: `make bench`.

Every figure is the median of interleaved rounds (A B A B …) over servers that the run starts itself, on loopback and unix sockets, with
full durability. docs/performance.md has the table of one machine and says what was tried.
"""
