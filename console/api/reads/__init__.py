"""What the views show, read from the warehouse and the parameter store."""
