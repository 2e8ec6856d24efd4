"""Which mapping a message belongs to: a pure table of rules."""
