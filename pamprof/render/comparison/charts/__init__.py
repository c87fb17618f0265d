"""What each picture of a comparison shows, as plain numbers and words."""
