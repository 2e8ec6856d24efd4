"""What both platforms of the simulator share."""
