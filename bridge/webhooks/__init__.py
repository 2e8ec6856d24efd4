"""The company's own endpoints: which events they get, and how each is sent."""
