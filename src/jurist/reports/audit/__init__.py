"""What a recorded run shows about its judge's habits, one room for each."""
