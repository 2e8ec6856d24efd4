"""What the codes in the rows mean: the bridge's own ones, and where those of the platforms and of the gateways are found.

Why a delivery is in its state at all is its `Reason` (`bridge.models.deliveries`); a code says it more exactly.
"""
