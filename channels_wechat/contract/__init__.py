"""What a kind of account is: its class, what it takes and gives, and how it fails."""
