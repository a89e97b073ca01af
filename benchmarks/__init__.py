"""What the service costs and how much it does, one module per figure; each prints JSON lines."""
