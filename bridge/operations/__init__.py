"""What staff look at: why work waits, what fails, and whether the other sides answer again."""
