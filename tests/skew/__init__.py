"""What an older release leaves behind, and whether the present code goes on with it."""
