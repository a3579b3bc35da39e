"""`litgo notification`: messages to people, where each stands, and what a person may do about one that did not arrive."""
