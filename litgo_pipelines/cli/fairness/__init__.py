"""`litgo fairness`: how evenly work is spread over the lawyers, and what is done about it. One module a verb."""
