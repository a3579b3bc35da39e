"""`litgo contract`: contracts that are to be signed, and what people do about them."""
