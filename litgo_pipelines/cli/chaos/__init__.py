"""`litgo chaos …`: vendors that fail as told, for trying the product by hand."""
