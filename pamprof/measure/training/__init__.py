"""What somebody's training loop costs: step times, and one step taken apart beside them."""
