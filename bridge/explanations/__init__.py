"""What the codes in the rows mean: the bridge's own ones, and where those of the platforms and of the gateways are found."""
