"""Files of others: read and written."""
