"""The pages of an account: its form, its state, and a panel for each thing that its kind can do."""
