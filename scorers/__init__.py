"""What looks at a row and says how good it is: one family a file."""
